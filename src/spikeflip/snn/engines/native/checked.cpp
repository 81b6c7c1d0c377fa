#include "checked.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace spikeflip {
namespace {

// The product of the sizes from axis `first` on.
int64_t product(const std::vector<int64_t>& shape, size_t first) {
  int64_t result = 1;
  for (size_t i = first; i < shape.size(); ++i) result *= shape[i];
  return result;
}

}  // namespace

void require(bool condition, const char* rule) {
  if (!condition) throw std::invalid_argument(rule);
}

Neuron neuron_of(const NeuronNumbers& numbers) {
  const auto& [threshold, decay, reset, centre, half_width, height] = numbers;
  return {threshold, decay, reset, centre, half_width, height};
}

Maps maps_of(const MapShape& shape) {
  const auto& [channels, height, width] = shape;
  require(std::min({channels, height, width}) >= 1 &&
              std::max({channels, height, width}) <= std::numeric_limits<int>::max() - kVector,
          "channels, height and width of maps must be from 1 to 2^31 - 17");
  return {static_cast<int>(height), static_cast<int>(width), static_cast<int>(channels)};
}

int steps_of(int64_t steps) {
  require(steps <= std::numeric_limits<int>::max(), "time steps must be fewer than 2^31");
  return static_cast<int>(steps);
}

std::vector<int64_t> words_shape(int64_t samples, int64_t steps, const Maps& maps) {
  return {samples, steps, maps.pixels(), maps.words()};
}

void CheckedLayers::add_conv(int channels, int kernel, Array forward, Array backward) {
  if (const auto reason = why_not(top(), channels, kernel, size() == 0))
    throw std::invalid_argument("the convolution " + *reason);
  const int64_t inputs = top().channels, taps = int64_t{kernel} * kernel;
  const std::vector<int64_t> back = size() == 0 ? std::vector<int64_t>{1, channels, padded(taps * inputs)}
                                                : std::vector<int64_t>{taps, channels, padded(inputs)};
  MapLayers::add_conv(channels, kernel, values_of<float>(forward, "weights", {taps, inputs, padded(channels)}),
                      values_of<float>(backward, "weights back", back));
  weights_.insert(weights_.end(), {std::move(forward), std::move(backward)});
}

void CheckedLayers::add_pool(int size) {
  require(size >= 1 && size <= std::min(top().height, top().width), "pooling must fit into the maps below");
  MapLayers::add_pool(size);
}

CheckedPass::CheckedPass(CheckedLayers& layers, std::optional<Array> input, std::vector<StateArrays> states,
                         std::vector<DropoutArrays> dropout, float most_dense, int threads)
    : layers_(layers), input_(std::move(input)), states_(std::move(states)), dropout_(std::move(dropout)) {
  require(!states_.empty() && states_.size() <= layers.size(), "states must be of the first layers, one at least");
  require(dropout_.size() == states_.size(), "dropout must be given for every layer");
  const Array& first = std::get<0>(states_[0]);
  check_axes(first, "potentials", 4);
  samples_ = shape_of(first)[0];
  const int steps = steps_of(shape_of(first)[1]);
  pass_ = {steps, nullptr, {}, {}, most_dense, threads};
  if (input_) pass_.input = values_of<uint16_t>(*input_, "input", words_shape(samples_, steps, layers.below(0)));
  for (size_t i = 0; i < states_.size(); ++i) {
    const auto& [potentials, inside, fired] = states_[i];
    const auto& [kept, scale] = dropout_[i];
    const Maps &below = layers.below(i), &above = layers.above(i);
    const auto words = words_shape(samples_, steps, above);
    pass_.states.push_back(
        {values_of<float>(potentials, "potentials", {samples_, steps, above.pixels(), above.padded()}),
         values_of<uint16_t>(inside, "inside", words), values_of<uint16_t>(fired, "fired", words)});
    pass_.dropout.push_back(
        {kept ? values_of<uint16_t>(*kept, "kept", words_shape(samples_, 1, below)) : nullptr, scale});
  }
}

std::vector<int> CheckedPass::forward(const std::vector<int>& starts) {
  const int end = static_cast<int>(states_.size());
  require(input_.has_value(), "forward needs the input");
  require(static_cast<int64_t>(starts.size()) == samples_, "forward needs a start for every sample");
  for (const int start : starts) require(start >= 0 && start <= end, "a start must be a layer of the pass or its end");
  nb::gil_scoped_release release;
  return layers_.forward(pass_, starts, end);
}

void CheckedPass::neurons(int layer, int64_t sample, const Array& current) const {
  check_place(layer, sample);
  const float* values = values_of<float>(current, "current", shape_above(layer));
  nb::gil_scoped_release release;
  layers_.neurons(pass_, layer, sample, values);
}

std::vector<int> CheckedPass::backward(const std::vector<std::tuple<int64_t, int64_t, int, Array>>& starts,
                                       const Array& stopped, const Array& result, const std::vector<Array>& weights) {
  check_axes(stopped, "stopped", 2);
  const int64_t rows = shape_of(stopped)[0], room = shape_of(stopped)[1];
  float* const stops = values_of<float>(stopped, "stopped", {rows, room});
  const Maps& input = layers_.below(0);
  float* const results =
      values_of<float>(result, "result", {rows, pass_.steps, input.height, input.width, input.channels});
  std::vector<Start> given;
  for (const auto& [row, sample, layer, gradient] : starts) {
    require(row >= 0 && row < rows, "a row must be one of the result");
    check_place(layer, sample);
    for (int i = 0; i <= layer; ++i)
      require(room >= product(shape_above(i), 0), "stopped must have room for the gradient of any layer below");
    given.push_back({sample, layer, values_of<float>(gradient, "gradient", shape_above(layer)), stops + row * room,
                     results + row * pass_.steps * input.pixels() * input.channels});
  }
  const std::vector<float*> sums = sums_of(weights);
  nb::gil_scoped_release release;
  return layers_.backward(pass_, given, sums);
}

std::vector<int64_t> CheckedPass::shape_above(int layer) const {
  const Maps& maps = layers_.above(static_cast<size_t>(layer));
  return {pass_.steps, maps.height, maps.width, maps.channels};
}

void CheckedPass::check_place(int layer, int64_t sample) const {
  require(layer >= 0 && static_cast<size_t>(layer) < states_.size(), "a layer must be one of the pass");
  require(sample >= 0 && sample < samples_, "a sample must be one of the pass");
}

std::vector<float*> CheckedPass::sums_of(const std::vector<Array>& weights) const {
  if (weights.empty()) return {};
  require(input_.has_value(), "weight gradients need the input");
  require(weights.size() == states_.size(), "weight gradients must be given for every layer");
  std::vector<float*> sums(weights.size());  // null for pooling
  for (size_t i = 0; i < weights.size(); ++i) {
    const int64_t kernel = layers_.kernel(i);
    if (kernel == 0) continue;
    sums[i] = values_of<float>(weights[i], "weight gradients",
                               {kernel * kernel, layers_.below(i).channels, layers_.above(i).padded()});
  }
  return sums;
}

CheckedFrames CheckedFrames::of_spikes(const Array& spikes, const std::optional<Array>& kept, const MapShape& shape,
                                       int threads) {
  const Maps maps = maps_of(shape);
  check_axes(spikes, "spikes", 4);
  const int64_t samples = shape_of(spikes)[0], steps = shape_of(spikes)[1];
  const auto* words = values_of<uint16_t>(spikes, "spikes", words_shape(samples, steps, maps));
  const auto* mask = kept ? values_of<uint16_t>(*kept, "kept", words_shape(samples, 1, maps)) : nullptr;
  nb::gil_scoped_release release;
  return {samples, steps, maps.pixels() * maps.channels,
          Frames::of_spikes(words, mask, samples, steps, maps, threads)};
}

CheckedFrames CheckedFrames::of_values(const Array& values, int threads) {
  const auto shape = shape_of(values);
  const float* numbers = values_of<float>(values, "values", shape);
  require(shape.size() >= 3, "values must be of a sample, a step and inputs");
  const int64_t inputs = product(shape, 2);
  nb::gil_scoped_release release;
  return {shape[0], shape[1], inputs, Frames::of_values(numbers, shape[0], shape[1], inputs, threads)};
}

void CheckedFrames::linear(const Array& weights, const Array& result, int threads) const {
  const auto [sums, outputs] = values(result, "result");
  const float* rows = this->weights(weights, "weights", outputs);
  nb::gil_scoped_release release;
  frames_.linear(outputs, rows, sums, threads);
}

void CheckedFrames::add_weight_gradient(const Array& gradient, const Array& result, int threads) const {
  const auto [numbers, outputs] = values(gradient, "gradient");
  float* sums = weights(result, "weight gradients", outputs);
  nb::gil_scoped_release release;
  frames_.add_weight_gradient(outputs, numbers, sums, threads);
}

std::pair<float*, int64_t> CheckedFrames::values(const Array& array, const char* what) const {
  auto shape = shape_of(array);
  require(shape.size() >= 3, "results and gradients must be of a sample, a step and outputs");
  const int64_t outputs = product(shape, 2);
  shape[0] = samples_;
  shape[1] = steps_;
  return {values_of<float>(array, what, shape), outputs};
}

float* CheckedFrames::weights(const Array& array, const char* what, int64_t outputs) const {
  return values_of<float>(array, what, {1, inputs_, padded(outputs)});
}

CheckedRescorer::CheckedRescorer(CheckedLayers& layers, const std::vector<std::tuple<int64_t, Array>>& linear,
                                 Array input, int64_t most)
    : input_(std::move(input)) {
  require(!linear.empty(), "the last layer must be fully connected");
  require(layers.neuron().threshold > 0, "neurons must rest where nothing arrives: the threshold must be above 0");
  check_axes(input_, "input", 4);
  const Maps &below = layers.input(), &top = layers.top();
  samples_ = shape_of(input_)[0];
  const int steps = steps_of(shape_of(input_)[1]);
  cells_ = steps * below.pixels() * below.channels;
  int64_t inputs = top.pixels() * top.channels;
  std::vector<Linear> given;
  for (const auto& [outputs, weights] : linear) {
    require(outputs >= 1, "a fully-connected layer must have outputs");
    given.push_back({outputs, values_of<float>(weights, "weights", {1, inputs, padded(outputs)})});
    weights_.push_back(weights);
    inputs = outputs;
  }
  outputs_ = inputs;
  uint16_t* const words = values_of<uint16_t>(input_, "input", words_shape(samples_, steps, below));
  rescorer_ = std::make_unique<Rescorer>(layers, std::move(given), steps, samples_, words, most);
}

void CheckedRescorer::scores(const Array& rows, const Array& cells, const Array& counts, int threads) {
  const Flips given = flips(rows, cells);
  float* const found = values_of<float>(counts, "counts", {given.count, outputs_});
  nb::gil_scoped_release release;
  rescorer_->scores(given, found, threads);
}

void CheckedRescorer::flip(const Array& rows, const Array& cells, int threads) {
  const Flips given = flips(rows, cells);
  std::vector<int64_t> sorted(given.rows, given.rows + given.count);
  std::sort(sorted.begin(), sorted.end());
  require(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), "no sample may be flipped twice at a time");
  nb::gil_scoped_release release;
  rescorer_->flip(given, threads);
}

Flips CheckedRescorer::flips(const Array& rows, const Array& cells) const {
  check_axes(rows, "rows", 1);
  check_axes(cells, "cells", 2);
  const int64_t count = shape_of(rows)[0], each = shape_of(cells)[1];
  const Flips given{count, each, values_of<int64_t>(rows, "rows", {count}),
                    values_of<int64_t>(cells, "cells", {count, each})};
  for (int64_t i = 0; i < count; ++i)
    require(given.rows[i] >= 0 && given.rows[i] < samples_, "a row must be one of the samples");
  for (int64_t i = 0; i < count * each; ++i)
    require(given.cells[i] >= -1 && given.cells[i] < cells_, "a cell must be one of the input's, or -1 for none");
  return given;
}

}  // namespace spikeflip
