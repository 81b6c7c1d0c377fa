"use strict";
// The player and the gallery of a run. Text from a run folder only ever becomes text of the page, never markup.
(() => {
  const OUTCOMES = { fooled: "fooled", held: "not fooled", wrong: "wrong from the start" };
  const WHITE = [255, 255, 255];
  const SVG = "http://www.w3.org/2000/svg";
  const number = value => value === null ? "–" : value >= 1e-3 || value === 0 ? String(+value.toPrecision(3)) : value.toExponential(1);

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function make(tag, text, options = {}) {
    const element = document.createElement(tag);
    element.textContent = text;
    return Object.assign(element, options);
  }

  function paint(canvas, height, width, colour) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    for (let at = 0; at < height * width; at++) {
      image.data.set(colour(at), 4 * at);
      image.data[4 * at + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  const mix = (colour, share) => colour.map(part => Math.round(255 + (part - 255) * share));

  // Spikes: planes of bits. Cells that are pooled have planes of their own for what was added and removed.
  function recording(facts, bytes) {
    const [steps, channels, height, width] = facts.shape, area = height * width, all = steps * channels * area;
    const isPooled = facts.pooled[0] * facts.pooled[1] > 1, colours = facts.colours;
    const bit = (plane, at) => { const k = plane * all + at; return bytes[k >> 3] >> (7 - (k & 7)) & 1; };
    const before = at => bit(0, at), after = at => bit(0, at) ^ bit(1, at);
    const added = at => isPooled ? bit(2, at) : bit(1, at) & ~bit(0, at);
    const removed = at => isPooled ? bit(3, at) : bit(1, at) & bit(0, at);
    const place = (step, channel, pixel) => (step * channels + channel) * area + pixel;
    const inks = channels === 2 ? [colours.OFF, colours.ON] : null;

    function fired(which, step, pixel) {
      const on = [];
      for (let channel = 0; channel < channels; channel++) if (which(place(step, channel, pixel))) on.push(channel);
      if (!on.length) return channels === 3 ? [0, 0, 0] : WHITE;
      if (channels === 3) return [0, 1, 2].map(channel => on.includes(channel) ? 255 : 0);
      if (!inks) return colours.SPIKE;
      return on.length === 1 ? inks[on[0]] : inks[0].map((part, at) => (part + inks[1][at]) >> 1);
    }
    function flips(first, last, pixel) {
      let plus = 0, minus = 0, kept = 0;
      for (let step = first; step < last; step++) for (let channel = 0; channel < channels; channel++) {
        const at = place(step, channel, pixel);
        plus += added(at); minus += removed(at); kept |= before(at);
      }
      return [plus, minus, kept];
    }
    function marked([plus, minus, kept], full) {
      if (!plus && !minus) return kept ? colours.KEPT : WHITE;
      const colour = plus && minus ? colours.MOVED : plus ? colours.ADDED : colours.REMOVED;
      return mix(colour, Math.min(1, 0.4 + 0.6 * (plus + minus) / full));
    }
    function count(which, step, channel) {
      let sum = 0;
      for (let pixel = 0; pixel < area; pixel++) sum += which(place(step, channel, pixel));
      return sum;
    }
    const counts = (which, step) => channels === 2
      ? `${count(which, step, 1)} ON, ${count(which, step, 0)} OFF`
      : `${[...Array(channels).keys()].reduce((sum, channel) => sum + count(which, step, channel), 0)} spikes`;
    const total = (which, step) => [...Array(channels).keys()].reduce((sum, channel) => sum + count(which, step, channel), 0);

    return {
      steps, height, width, end: Math.ceil((isPooled ? 4 : 2) * all / 8),
      draw(step, canvases) {
        paint(canvases.before, height, width, pixel => fired(before, step, pixel));
        paint(canvases.after, height, width, pixel => fired(after, step, pixel));
        paint(canvases.flips, height, width, pixel => marked(flips(step, step + 1, pixel), 1));
      },
      words: step => isPooled ? ["", "", ""] : [
        counts(before, step), counts(after, step), `${total(added, step)} added, ${total(removed, step)} removed`],
      tile(canvas) {
        const sums = Array.from({ length: area }, (_, pixel) => flips(0, steps, pixel));
        const full = Math.max(1, ...sums.map(([plus, minus]) => plus + minus));
        paint(canvas, height, width, pixel => marked(sums[pixel], full));
      },
    };
  }

  // Images: planes of bytes, and the difference about 128.
  function picture(facts, bytes, sample) {
    const [channels, height, width] = facts.shape, area = height * width, colours = facts.colours;
    const image = plane => at => [0, 1, 2].map(channel => bytes[(plane * channels + channel % channels) * area + at]);
    const change = at => {
      const value = (bytes[2 * channels * area + at] - 128) / 127;
      return mix(value > 0 ? colours.ADDED : colours.REMOVED, Math.min(1, Math.abs(value)));
    };
    return {
      steps: 1, height, width, end: (2 * channels + 1) * area,
      draw(step, canvases) {
        paint(canvases.before, height, width, image(0));
        paint(canvases.after, height, width, image(1));
        paint(canvases.flips, height, width, change);
      },
      words: () => ["", "", `largest change ${number(sample.scale)}`],
      tile: canvas => paint(canvas, height, width, image(1)),
    };
  }

  // Output spikes of each class, summed up to each step: [which][class][step].
  function sums(facts, bytes, from) {
    const [steps, classes] = facts.outputs, found = [];
    for (let which = 0; which < 2; which++) {
      found.push(Array.from({ length: classes }, (_, one) => {
        let sum = 0;
        return Array.from({ length: steps }, (_, step) => {
          const k = (which * steps + step) * classes + one;
          return sum += bytes[from + (k >> 3)] >> (7 - (k & 7)) & 1;
        });
      }));
    }
    return found;
  }

  function draw(svg, curves, sample, facts, step, top) {
    svg.replaceChildren();
    const steps = curves[0].length, [left, right, high, low] = [26, 280, 8, 126];
    const x = at => left + (right - left) * at / steps, y = value => low - (low - high) * value / top;
    const add = (tag, attributes, text) => {
      const element = document.createElementNS(SVG, tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      if (text !== undefined) element.textContent = text;
      svg.append(element);
    };
    for (const value of new Set([0, Math.round(top / 2), top])) {
      add("line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" });
      add("text", { x: left - 5, y: y(value) + 4, class: "tick end" }, value);
    }
    for (const at of new Set([1, Math.round(steps / 2), steps])) add("text", { x: x(at), y: low + 16, class: "tick mid" }, at);
    const [label, said] = sample.at, order = curves.map((_, one) => one).sort((a, b) => rank(a) - rank(b));
    function rank(one) { return one === label ? 2 : one === said ? 1 : 0; }
    for (const one of order) {
      const points = [[x(0), y(0)], ...curves[one].map((value, at) => [x(at + 1), y(value)])];
      add("polyline", { points: points.map(point => point.map(part => part.toFixed(1)).join()).join(" "),
                        class: one === label ? "true" : one === said ? "said" : "other" });
    }
    add("line", { x1: x(step + 1), x2: x(step + 1), y1: high, y2: low, class: "now" });
    const named = said >= 0 && said !== label ? [label, said] : [label];
    const ends = named.map(one => y(curves[one]?.[steps - 1] ?? 0));
    if (ends.length > 1 && Math.abs(ends[0] - ends[1]) < 14) {
      const middle = Math.min(Math.max((ends[0] + ends[1]) / 2, high + 7), low - 7), above = ends[0] <= ends[1] ? 0 : 1;
      ends[above] = middle - 7;
      ends[1 - above] = middle + 7;
    }
    named.forEach((one, at) => add("text", { x: right + 6, y: ends[at] + 4, class: one === label ? "true" : "said" },
                                   (facts.classes[one] ?? String(one)).slice(0, 12)));
    const told = named.map(one => `${facts.classes[one] ?? one}: ${curves[one]?.[step] ?? 0}`).join(", ");
    svg.setAttribute("aria-label", `Output spikes after ${step + 1} of ${steps} steps: ${told}`);
  }

  function gallery(section) {
    const facts = JSON.parse(document.getElementById(`${section.id}-data`).textContent);
    const part = name => section.querySelector(`[data-part="${name}"]`);
    const canvases = { before: part("before"), after: part("after"), flips: part("flips") };
    const { samples } = facts, list = part("tiles"), scrub = part("scrub"), play = part("play");
    const filters = [...section.querySelectorAll("[data-filter]")], cache = new Map();
    let shown = [], chosen = null, now = null, step = 0, timer = null;

    const open = sample => {
      if (!cache.has(sample)) {
        cache.set(sample, unpack(sample.data).then(bytes => {
          const view = facts.kind === "spikes" ? recording(facts, bytes) : picture(facts, bytes, sample);
          return { ...view, curves: facts.outputs ? sums(facts, bytes, view.end) : null };
        }));
      }
      return cache.get(sample);
    };

    // ---- the player
    const length = () => Math.max(now.steps, now.curves ? facts.outputs[0] : 1);
    function refresh() {
      now.draw(Math.min(step, now.steps - 1), canvases);
      const words = now.words(Math.min(step, now.steps - 1));
      ["before", "after", "flips"].forEach((name, at) => {
        part(`${name}-count`).textContent = words[at] && `: ${words[at]}`;
        const what = { before: "Original", after: "Adversarial", flips: "Difference" }[name];
        canvases[name].setAttribute("aria-label", `${what}, step ${step + 1}${words[at] && `: ${words[at]}`}`);
      });
      scrub.value = step + 1;
      part("clock").textContent = `step ${step + 1} of ${length()}`;
      if (!now.curves) return;
      const top = Math.max(1, ...now.curves.flat(2));
      ["before", "after"].forEach((name, at) => draw(part(`chart-${name}`), now.curves[at], chosen, facts, step, top));
    }
    function go(to) {
      step = (to + length()) % length();
      refresh();
    }
    function stop() {
      clearInterval(timer);
      timer = null;
      play.textContent = "Play";
    }
    function start() {
      timer = setInterval(() => go(step + 1), 1000 / part("speed").value);
      play.textContent = "Pause";
    }
    play.addEventListener("click", () => timer === null ? start() : stop());
    part("back").addEventListener("click", () => { stop(); go(step - 1); });
    part("next").addEventListener("click", () => { stop(); go(step + 1); });
    scrub.addEventListener("input", () => { stop(); go(scrub.value - 1); });
    part("speed").addEventListener("change", () => { if (timer !== null) { stop(); start(); } });
    part("player").addEventListener("keydown", event => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by && !["INPUT", "SELECT"].includes(event.target.tagName)) { event.preventDefault(); stop(); go(step + by); }
    });

    async function choose(sample) {
      chosen = sample;
      for (const tile of list.children) {
        const is = tile.sample === sample;
        tile.setAttribute("aria-selected", is);
        tile.tabIndex = is || (!shown.includes(sample) && tile === list.firstChild) ? 0 : -1;
      }
      const view = await open(sample);
      if (chosen !== sample) return;
      now = view;
      step = Math.min(step, length() - 1);
      scrub.max = length();
      part("transport").hidden = length() === 1;
      part("scores").hidden = !now.curves;
      part("title").replaceChildren(
        make("span", sample.label), make("span", " → ", { className: "arrow" }), make("span", sample.said),
        ...sample.outcome === "fooled" ? [] : [make("span", OUTCOMES[sample.outcome], { className: "tag failed" })]);
      part("facts").textContent = [
        sample.file ? sample.file : `input ${sample.input}`, sample.target === null ? "" : `target ${sample.target}`,
        `mse ${number(sample.mse)}`, `${sample.steps} ${sample.steps === 1 ? "step" : "steps"}`].filter(Boolean).join(" · ");
      refresh();
    }

    // ---- filters and order
    const values = {
      label: sample => sample.label, target: sample => sample.target ?? "", said: sample => sample.said,
      outcome: sample => OUTCOMES[sample.outcome],
      steps: sample => sample.steps <= 5 ? String(sample.steps) : sample.steps <= 10 ? "6 to 10" : "more than 10",
    };
    for (const filter of filters) {
      const found = [...new Set(samples.map(values[filter.dataset.filter]))].filter(Boolean);
      found.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
      filter.append(make("option", "all", { value: "" }), ...found.map(value => make("option", value, { value })));
      filter.parentElement.hidden = found.length < 2;
    }
    const watcher = new IntersectionObserver(entries => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        watcher.unobserve(target);
        open(target.sample).then(view => view.tile(target.querySelector("canvas")));
      }
    }, { rootMargin: "200px" });
    const tiles = new Map(samples.map(sample => {
      const tile = make("li", ""), said = `${sample.label} → ${sample.said}`;
      tile.setAttribute("role", "option");
      tile.append(make("canvas", ""), make("b", said), make("small", `mse ${number(sample.mse)}`));
      tile.setAttribute("aria-label", `${sample.label} becomes ${sample.said}, ${sample.file ?? `input ${sample.input}`}, ` +
        `mse ${number(sample.mse)}, ${OUTCOMES[sample.outcome]}`);
      tile.classList.add(sample.outcome);
      tile.sample = sample;
      tile.tabIndex = -1;
      watcher.observe(tile);
      return [sample, tile];
    }));
    function arrange() {
      shown = samples.filter(sample => filters.every(
        filter => !filter.value || values[filter.dataset.filter](sample) === filter.value));
      const key = part("sort").value.replace("-", ""), sign = part("sort").value.startsWith("-") ? -1 : 1;
      shown.sort((a, b) => sign * ((a[key] ?? Infinity) - (b[key] ?? Infinity)) || a.row - b.row);
      list.replaceChildren(...shown.map(sample => tiles.get(sample)));
      part("count").textContent = shown.length ? `${shown.length} of ${samples.length} shown` : "no input is like this";
      if (shown.length) choose(shown.includes(chosen) ? chosen : shown[0]);
    }
    part("filters").addEventListener("change", arrange);
    part("filters").addEventListener("submit", event => event.preventDefault());
    list.addEventListener("click", event => {
      const tile = event.target.closest("li");
      if (tile) choose(tile.sample);
    });
    list.addEventListener("keydown", event => {
      const at = shown.indexOf(chosen), across = shown.filter((sample, _, [first]) =>
        tiles.get(sample).offsetTop === tiles.get(first).offsetTop).length;
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - across, ArrowDown: at + across,
                   Home: 0, End: shown.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      if (!shown[to]) return;
      choose(shown[to]);
      tiles.get(shown[to]).focus();
    });

    section.hidden = false;
    arrange();
    return row => {
      const sample = samples.find(one => one.row === row);
      if (!shown.includes(sample)) { for (const filter of filters) filter.value = ""; arrange(); }
      step = 0;
      choose(sample);
      part("player").scrollIntoView({ block: "start" });
      part("player").focus({ preventScroll: true });
    };
  }

  if (!("DecompressionStream" in window)) return;
  const players = new Map([...document.querySelectorAll(".gallery")].map(section => [section.id, gallery(section)]));
  for (const button of document.querySelectorAll("button.play[data-gallery]")) {
    button.hidden = false;
    button.addEventListener("click", () => players.get(button.dataset.gallery)(Number(button.dataset.row)));
  }
})();
