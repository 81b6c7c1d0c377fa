// Fully-connected layers over all frames of all samples at once: a row of weights is read once for all of them.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.hpp"

namespace spikeflip {

// For each input the frames in which it is active, with its values where it has them.
class Frames {
 public:
  // Of spikes as bits, (frame, pixel, word), of which dropout kept `kept`, (sample, pixel, word), or all (null);
  // input `pixel * channels + channel`.
  static Frames of_spikes(const uint16_t* spikes, const uint16_t* kept, int64_t samples, int64_t steps,
                          const Maps& maps);
  // Of numbers, (frame, input).
  static Frames of_values(const float* values, int64_t frames, int64_t inputs);

  // (frame, outputs) from weights (inputs, outputs padded).
  void linear(int64_t outputs, const float* weights, float* result, int threads) const;
  // Adds the weight gradient (inputs, outputs padded) from that of the outputs, (frame, outputs).
  void add_weight_gradient(int64_t outputs, const float* gradient, float* result, int threads) const;

 private:
  ByInput active() const { return {offsets_.data(), frames_.data(), values_.empty() ? nullptr : values_.data()}; }
  int64_t inputs() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  // Calls visit(input, frame, value) for all active inputs, twice: once to count, once to fill.
  template <typename Visit>
  static Frames listed(int64_t inputs, int64_t frames, bool with_values, Visit visit);

  int64_t count_ = 0;
  std::vector<int64_t> offsets_;
  std::vector<uint32_t> frames_;
  std::vector<float> values_;
};

}  // namespace spikeflip
