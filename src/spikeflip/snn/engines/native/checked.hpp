// The layers as Python sees them: whatever it passes is checked here, so that the code behind can believe pointers and
// sizes. What it gives up front is kept, so that memory in use is never freed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "arrays.hpp"
#include "linear.hpp"
#include "map_layers.hpp"
#include "rescoring.hpp"

namespace spikeflip {

using NeuronNumbers = std::tuple<float, float, int, float, float, float>;
using MapShape = std::tuple<int64_t, int64_t, int64_t>;  // as PyTorch has it: channels, height, width
using StateArrays = std::tuple<Array, Array, Array>;     // potentials, inside, fired
using DropoutArrays = std::tuple<std::optional<Array>, float>;

// Throws std::invalid_argument with the rule.
void require(bool condition, const char* rule);
Neuron neuron_of(const NeuronNumbers& numbers);
Maps maps_of(const MapShape& shape);
int steps_of(int64_t steps);
std::vector<int64_t> words_shape(int64_t samples, int64_t steps, const Maps& maps);

class CheckedLayers : public MapLayers {
 public:
  using MapLayers::MapLayers;
  void add_conv(int channels, int kernel, Array forward, Array backward);
  void add_pool(int size);

 private:
  std::vector<Array> weights_;
};

// A pass over the first layers.
class CheckedPass {
 public:
  CheckedPass(CheckedLayers& layers, std::optional<Array> input, std::vector<StateArrays> states,
              std::vector<DropoutArrays> dropout, float most_dense, int threads);

  std::vector<int> forward(const std::vector<int>& starts);
  void neurons(int layer, int64_t sample, const Array& current) const;
  // From starts (row, sample, layer, gradient); row k of `stopped` and `result` is that of the start with row k.
  std::vector<int> backward(const std::vector<std::tuple<int64_t, int64_t, int, Array>>& starts, const Array& stopped,
                            const Array& result, const std::vector<Array>& weights);

 private:
  std::vector<int64_t> shape_above(int layer) const;
  void check_place(int layer, int64_t sample) const;
  std::vector<float*> sums_of(const std::vector<Array>& weights) const;

  CheckedLayers& layers_;
  std::optional<Array> input_;
  std::vector<StateArrays> states_;
  std::vector<DropoutArrays> dropout_;
  int64_t samples_ = 0;
  Pass pass_;
};

class CheckedFrames {
 public:
  static CheckedFrames of_spikes(const Array& spikes, const std::optional<Array>& kept, const MapShape& shape,
                                 int threads);
  static CheckedFrames of_values(const Array& values, int threads);
  void linear(const Array& weights, const Array& result, int threads) const;
  void add_weight_gradient(const Array& gradient, const Array& result, int threads) const;

 private:
  CheckedFrames(int64_t samples, int64_t steps, int64_t inputs, Frames frames)
      : samples_(samples), steps_(steps), inputs_(inputs), frames_(std::move(frames)) {}
  // An array (sample, step, ...) of these samples and steps, and how many values each frame has.
  std::pair<float*, int64_t> values(const Array& array, const char* what) const;
  float* weights(const Array& array, const char* what, int64_t outputs) const;

  int64_t samples_, steps_, inputs_;
  Frames frames_;
};

class CheckedRescorer {
 public:
  // Fully-connected layers are outputs and weights. The input is changed by flips.
  CheckedRescorer(CheckedLayers& layers, const std::vector<std::tuple<int64_t, Array>>& linear, Array input,
                  int64_t most);
  void scores(const Array& rows, const Array& cells, const Array& counts, int threads);
  void flip(const Array& rows, const Array& cells, int threads);

 private:
  Flips flips(const Array& rows, const Array& cells) const;

  Array input_;
  std::vector<Array> weights_;
  int64_t samples_, cells_, outputs_;
  std::unique_ptr<Rescorer> rescorer_;
};

}  // namespace spikeflip
