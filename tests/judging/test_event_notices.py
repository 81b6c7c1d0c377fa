"""What is said of recordings whose events the victim did not all see."""

import pytest
import torch

from spikeflip.judging import notices


def rows(success, events, outside, added, removed):
    """Of each input whether it was fooled, and its counts of events."""
    names = ("events", "events_outside", "events_added", "events_removed")
    counts = dict(zip(names, map(torch.tensor, (events, outside, added, removed)), strict=True))
    return {"success": torch.tensor(success), **counts}


def of_recordings(outside, success=(True, True, False)):
    """Two of 100 events each with 20 of them changed; a third, of which success decides whether it counts."""
    return rows(success, [100, 100, 800], [outside, outside, 0], [15, 5, 0], [5, 15, 0])


@pytest.mark.parametrize(("outside", "said"), [(9, False), (10, True), (60, True)])
def test_unseen_events_are_said_from_a_tenth_on(outside, said):
    found = notices.events_unseen(of_recordings(outside))
    assert (found is not None) == said
    if said:
        assert f"did not see {outside:.1f} % of the successes' events" in found.text
        assert f"a change of 20.0 % of all events is one of {100 * 20 / (100 - outside):.1f} %" in found.text


def test_a_change_has_two_sizes_and_is_of_the_successes():
    # 682 of 4,244 events, of which the victim saw 1,390.
    judged = rows([True, False], [4244, 9], [2854, 9], [300, 9], [382, 9])
    assert notices.changed_events(judged) == pytest.approx((682 / 4244, 682 / 1390))
    assert (
        "a change of 16.1 % of all events is one of 49.1 % of those that it saw" in notices.events_unseen(judged).text
    )


def test_no_events_no_success_and_none_seen_have_no_size():
    of_images = {"success": torch.tensor([True])}
    for judged in (of_images, of_recordings(60, (False,) * 3), of_recordings(100, (True, True, False))):
        assert notices.changed_events(judged) is None
        assert notices.events_unseen(judged) is None
