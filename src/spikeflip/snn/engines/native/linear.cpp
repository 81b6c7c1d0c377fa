#include "linear.hpp"

#include <algorithm>

#include "map_layers.hpp"
#include "parallel.hpp"

namespace spikeflip {

template <typename Visit>
Frames Frames::listed(int64_t inputs, int64_t frames, bool with_values, Visit visit) {
  Frames result;
  result.count_ = frames;
  result.offsets_.assign(static_cast<size_t>(inputs) + 1, 0);
  visit([&](int64_t input, int64_t, float) { ++result.offsets_[static_cast<size_t>(input) + 1]; });
  for (size_t i = 1; i < result.offsets_.size(); ++i) result.offsets_[i] += result.offsets_[i - 1];
  const size_t total = static_cast<size_t>(result.offsets_.back()) + 1;  // never null
  result.frames_.resize(total);
  if (with_values) result.values_.resize(total);
  std::vector<int64_t> next(result.offsets_.begin(), result.offsets_.end() - 1);
  visit([&](int64_t input, int64_t frame, float value) {
    const size_t place = static_cast<size_t>(next[static_cast<size_t>(input)]++);
    result.frames_[place] = static_cast<uint32_t>(frame);
    if (with_values) result.values_[place] = value;
  });
  return result;
}

Frames Frames::of_spikes(const uint16_t* spikes, const uint16_t* kept, int64_t samples, int64_t steps,
                         const Maps& maps) {
  const int64_t pixels = maps.pixels(), words = maps.words();
  return listed(pixels * maps.channels, samples * steps, false, [&](auto found) {
    for (int64_t frame = 0; frame < samples * steps; ++frame) {
      const uint16_t* at = spikes + frame * pixels * words;
      const uint16_t* mask = kept == nullptr ? nullptr : kept + frame / steps * pixels * words;
      for (int64_t p = 0; p < pixels; ++p) {
        for (int64_t w = 0; w < words; ++w) {
          uint32_t word = at[p * words + w];
          if (mask != nullptr) word &= mask[p * words + w];
          for (; word != 0; word &= word - 1)
            found(p * maps.channels + w * kVector + __builtin_ctz(word), frame, 1.0f);
        }
      }
    }
  });
}

Frames Frames::of_values(const float* values, int64_t frames, int64_t inputs) {
  return listed(inputs, frames, true, [&](auto found) {
    for (int64_t frame = 0; frame < frames; ++frame)
      for (int64_t i = 0; i < inputs; ++i)
        if (values[frame * inputs + i] != 0.0f) found(i, frame, values[frame * inputs + i]);
  });
}

void Frames::linear(int64_t outputs, const float* weights, float* result, int threads) const {
  constexpr int64_t kBlock = 4 * kVector;
  parallel((outputs + kBlock - 1) / kBlock, threads, [&](int64_t block, int64_t) {
    std::vector<float> scratch(static_cast<size_t>(count_ * kBlock + kVector));
    kernels().linear(inputs(), outputs, active(), weights, result, block * kBlock,
                     std::min((block + 1) * kBlock, outputs), count_, scratch.data());
  });
}

void Frames::add_weight_gradient(int64_t outputs, const float* gradient, float* result, int threads) const {
  constexpr int64_t kBlock = 256;
  parallel((inputs() + kBlock - 1) / kBlock, threads, [&](int64_t block, int64_t) {
    kernels().linear_weights(outputs, active(), gradient, block * kBlock, std::min((block + 1) * kBlock, inputs()),
                             result);
  });
}

}  // namespace spikeflip
