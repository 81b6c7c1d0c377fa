// Fully-connected layers over the frames of many samples. Frames are taken in groups of a few samples: a row of weights
// is read once for a group, whose sums fit the first cache.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.hpp"

namespace spikeflip {

// The active inputs of every group of frames, with their values where they have them.
class Frames {
 public:
  // Of spikes as bits, (sample, step, pixel, word), of which dropout kept `kept`, (sample, pixel, word), or all (null);
  // input `pixel * channels + channel`.
  static Frames of_spikes(const uint16_t* spikes, const uint16_t* kept, int64_t samples, int64_t steps,
                          const Maps& maps, int threads);
  // Of numbers, (sample, step, input).
  static Frames of_values(const float* values, int64_t samples, int64_t steps, int64_t inputs, int threads);

  // (frame, outputs) from weights (inputs, outputs padded).
  void linear(int64_t outputs, const float* weights, float* result, int threads) const;
  // Adds the weight gradient (inputs, outputs padded) from that of the outputs, (frame, outputs).
  void add_weight_gradient(int64_t outputs, const float* gradient, float* result, int threads) const;

 private:
  struct Group {
    int64_t first, frames;
    std::vector<uint32_t> inputs, offsets, places;
    std::vector<float> values;
    ByInput active() const {
      return {static_cast<int64_t>(inputs.size()), inputs.data(), offsets.data(), places.data(),
              values.empty() ? nullptr : values.data()};
    }
  };
  // Calls visit(frame, found) for every frame of each group; it calls found(input, value) for all active inputs.
  template <typename Visit>
  static Frames listed(int64_t inputs, int64_t samples, int64_t steps, bool with_values, int threads, Visit visit);

  std::vector<Group> groups_;
};

}  // namespace spikeflip
