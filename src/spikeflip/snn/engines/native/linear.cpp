#include "linear.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "map_layers.hpp"
#include "parallel.hpp"

namespace spikeflip {
namespace {

// A group of more frames would push its sums, 4 vectors a frame, out of the first cache.
constexpr int64_t kFrames = 64;

}  // namespace

template <typename Visit>
Frames Frames::listed(int64_t inputs, int64_t samples, int64_t steps, bool with_values, int threads, Visit visit) {
  // Inputs, and what is active of a group, are counted in 32 bits.
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  if (inputs > kMost) throw std::length_error("a fully-connected layer must have fewer than 2^32 inputs");
  const int64_t together = std::max<int64_t>(1, kFrames / std::max<int64_t>(steps, 1)) * steps, all = samples * steps;
  const int64_t each = std::min(together, kMost / std::max<int64_t>(inputs, 1));
  Frames result;
  result.groups_.resize(all == 0 ? 0 : static_cast<size_t>((all + each - 1) / each));
  parallel(static_cast<int64_t>(result.groups_.size()), threads, [&](int64_t number, int64_t) {
    Group& group = result.groups_[static_cast<size_t>(number)];
    group.first = number * each;
    group.frames = std::min(each, all - group.first);
    std::vector<uint32_t> next(static_cast<size_t>(inputs) + 1);
    for (int64_t f = 0; f < group.frames; ++f)
      visit(group.first + f, [&](int64_t input, float) { ++next[static_cast<size_t>(input)]; });
    uint32_t total = 0;
    for (int64_t i = 0; i < inputs; ++i) {
      const uint32_t count = next[static_cast<size_t>(i)];
      next[static_cast<size_t>(i)] = total;
      if (count == 0) continue;
      group.inputs.push_back(static_cast<uint32_t>(i));
      group.offsets.push_back(total);
      total += count;
    }
    group.offsets.push_back(total);
    group.places.resize(total);
    if (with_values) group.values.resize(total + size_t{1});  // never null
    for (int64_t f = 0; f < group.frames; ++f) {
      visit(group.first + f, [&](int64_t input, float value) {
        const uint32_t place = next[static_cast<size_t>(input)]++;
        group.places[place] = static_cast<uint32_t>(f);
        if (with_values) group.values[place] = value;
      });
    }
  });
  return result;
}

Frames Frames::of_spikes(const uint16_t* spikes, const uint16_t* kept, int64_t samples, int64_t steps,
                         const Maps& maps, int threads) {
  const int64_t pixels = maps.pixels(), words = maps.words();
  return listed(pixels * maps.channels, samples, steps, false, threads, [&](int64_t frame, auto found) {
    const uint16_t* at = spikes + frame * pixels * words;
    const uint16_t* mask = kept == nullptr ? nullptr : kept + frame / steps * pixels * words;
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t w = 0; w < words; ++w) {
        uint32_t word = at[p * words + w] & maps.used(static_cast<int>(w));
        if (mask != nullptr) word &= mask[p * words + w];
        for (; word != 0; word &= word - 1) found(p * maps.channels + w * kVector + __builtin_ctz(word), 1.0f);
      }
    }
  });
}

Frames Frames::of_values(const float* values, int64_t samples, int64_t steps, int64_t inputs, int threads) {
  return listed(inputs, samples, steps, true, threads, [&](int64_t frame, auto found) {
    const float* at = values + frame * inputs;
    for (int64_t i = 0; i < inputs; ++i)
      if (at[i] != 0.0f) found(i, at[i]);
  });
}

void Frames::linear(int64_t outputs, const float* weights, float* result, int threads) const {
  const int64_t vectors = words_of(outputs);
  parallel((vectors + kLinearVectors - 1) / kLinearVectors, threads, [&](int64_t block, int64_t) {
    const int64_t first = block * kLinearVectors, last = std::min(first + kLinearVectors, vectors);
    std::vector<float> scratch;
    for (const Group& group : groups_) {
      scratch.resize(static_cast<size_t>(group.frames * kLinearVectors * kVector));
      kernels().linear(outputs, group.active(), weights, result + group.first * outputs, first, last, group.frames,
                       scratch.data());
    }
  });
}

void Frames::add_weight_gradient(int64_t outputs, const float* gradient, float* result, int threads) const {
  const int64_t vectors = words_of(outputs);
  parallel((vectors + kLinearVectors - 1) / kLinearVectors, threads, [&](int64_t block, int64_t) {
    const int64_t first = block * kLinearVectors, last = std::min(first + kLinearVectors, vectors);
    for (const Group& group : groups_)
      kernels().linear_weights(outputs, group.active(), gradient + group.first * outputs, first, last, result);
  });
}

}  // namespace spikeflip
