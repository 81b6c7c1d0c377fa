// The Python module: what it is given is checked here, so that the code behind it can believe pointers and sizes.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "arrays.hpp"
#include "linear.hpp"
#include "map_layers.hpp"
#include "parallel.hpp"

namespace spikeflip {
namespace {

using NeuronNumbers = std::tuple<float, float, int, float, float, float>;
using MapShape = std::tuple<int, int, int>;  // as PyTorch has it: channels, height, width
using StateArrays = std::tuple<Array, Array, Array>;
using DropoutArrays = std::tuple<std::optional<Array>, float>;

void require(bool condition, const char* rule) {
  if (!condition) throw std::invalid_argument(rule);
}

// One that padding cannot make fire.
Neuron neuron_of(const NeuronNumbers& numbers) {
  const auto& [threshold, decay, reset, centre, half_width, height] = numbers;
  require(threshold > 0, "a neuron's threshold must be positive");
  require(reset >= kHard && reset <= kNone, "a neuron's reset must be 0, 1 or 2");
  return {threshold, decay, reset, centre, half_width, height};
}

Maps maps_of(const MapShape& shape) {
  const auto& [channels, height, width] = shape;
  require(std::min({channels, height, width}) >= 1, "channels, height and width of maps must be at least 1");
  return {height, width, channels};
}

int steps_of(int64_t steps) {
  require(steps <= std::numeric_limits<int>::max(), "time steps must be fewer than 2^31");
  return static_cast<int>(steps);
}

std::vector<int64_t> words_shape(int64_t samples, int64_t steps, const Maps& maps) {
  return {samples, steps, maps.pixels(), maps.words()};
}

// The layers and the memory of their weights.
class Layers : public MapLayers {
 public:
  using MapLayers::MapLayers;

  void add_conv(int channels, int kernel, Array forward, Array backward) {
    const Maps below = top(), above{below.height, below.width, channels};
    if (const auto reason = why_not(below, channels, kernel, size() == 0)) throw std::invalid_argument(*reason);
    const int64_t taps = int64_t{kernel} * kernel;
    const float* forth = values_of<float>(forward, "weights", {taps, below.channels, above.padded()});
    const float* back = size() > 0 ? values_of<float>(backward, "weights back", {taps, channels, below.padded()})
                                   : values_of<float>(backward, "weights back", {1, channels, padded(taps * below.channels)});
    MapLayers::add_conv(channels, kernel, forth, back);
    weights_.insert(weights_.end(), {std::move(forward), std::move(backward)});
  }

  void add_pool(int pixels) {
    require(pixels >= 1 && pixels <= std::min(top().height, top().width), "pooling must fit into the maps below");
    MapLayers::add_pool(pixels);
  }

 private:
  std::vector<Array> weights_;
};

// A pass over the first layers, and the memory that it works on.
class Run {
 public:
  Run(Layers& layers, std::optional<Array> input, std::vector<StateArrays> states, std::vector<DropoutArrays> dropout,
      float most_dense, int threads)
      : layers_(layers), input_(std::move(input)), states_(std::move(states)), dropout_(std::move(dropout)) {
    require(!states_.empty() && states_.size() <= layers.size(), "states must be of the first layers, of one at least");
    require(dropout_.size() == states_.size(), "dropout must be given for every layer");
    const Array& first = std::get<0>(states_[0]);
    check_axes(first, "potentials", 4);
    samples_ = static_cast<int64_t>(first.shape(0));
    const int64_t steps = steps_of(static_cast<int64_t>(first.shape(1)));
    pass_ = {static_cast<int>(steps), nullptr, {}, {}, most_dense, threads};
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

  std::vector<int> forward(const std::vector<int>& starts) {
    const int end = static_cast<int>(states_.size());
    require(input_.has_value(), "forward needs the input");
    require(static_cast<int64_t>(starts.size()) == samples_, "forward needs a start for every sample");
    for (const int start : starts) require(start >= 0 && start <= end, "a start must be a layer or the end");
    nb::gil_scoped_release release;
    return layers_.forward(pass_, starts, end);
  }

  void neurons(int layer, int64_t sample, const Array& current) {
    check_place(layer, sample);
    const float* values = values_of<float>(current, "current", maps_shape(layers_.above(static_cast<size_t>(layer))));
    nb::gil_scoped_release release;
    layers_.neurons(pass_, layer, sample, values);
  }

  std::vector<int> backward(const std::vector<std::tuple<int64_t, int64_t, int, Array>>& starts, const Array& stopped,
                            const Array& result, const std::vector<Array>& weights) {
    check_axes(stopped, "stopped", 2);
    const int64_t rows = static_cast<int64_t>(stopped.shape(0)), room = static_cast<int64_t>(stopped.shape(1));
    float* stops = values_of<float>(stopped, "stopped", {rows, room});
    auto shape = maps_shape(layers_.below(0));
    const int64_t input = shape[0] * shape[1] * shape[2] * shape[3];
    shape.insert(shape.begin(), rows);
    float* results = values_of<float>(result, "result", shape);
    std::vector<Start> given;
    for (const auto& [row, sample, layer, gradient] : starts) {
      require(row >= 0 && row < rows, "a row must be one of the result");
      check_place(layer, sample);
      for (size_t i = 0; i <= static_cast<size_t>(layer); ++i) {
        const Maps& maps = layers_.above(i);
        require(room >= pass_.steps * maps.pixels() * maps.channels, "stopped must have room for any layer's gradient");
      }
      const float* values = values_of<float>(gradient, "gradient", maps_shape(layers_.above(static_cast<size_t>(layer))));
      given.push_back({sample, layer, values, stops + row * room, results + row * input});
    }
    const std::vector<float*> sums = sums_of(weights);
    nb::gil_scoped_release release;
    return layers_.backward(pass_, given, sums);
  }

 private:
  std::vector<int64_t> maps_shape(const Maps& maps) const { return {pass_.steps, maps.height, maps.width, maps.channels}; }

  void check_place(int layer, int64_t sample) const {
    require(layer >= 0 && static_cast<size_t>(layer) < states_.size(), "a layer must be one of the pass");
    require(sample >= 0 && sample < samples_, "a sample must be one of the pass");
  }

  std::vector<float*> sums_of(const std::vector<Array>& weights) const {
    std::vector<float*> sums;
    if (weights.empty()) return sums;
    require(input_.has_value(), "weight gradients need the input");
    require(weights.size() == states_.size(), "weight gradients must be given for every layer");
    for (size_t i = 0; i < weights.size(); ++i)
      sums.push_back(layers_.kernel(i) == 0 ? nullptr
                                            : values_of<float>(weights[i], "weight gradients",
                                                               {int64_t{layers_.kernel(i)} * layers_.kernel(i),
                                                                layers_.below(i).channels, layers_.above(i).padded()}));
    return sums;
  }

  Layers& layers_;
  std::optional<Array> input_;
  std::vector<StateArrays> states_;
  std::vector<DropoutArrays> dropout_;
  int64_t samples_;
  Pass pass_;
};

// The frames of (sample, step, input).
struct ShapedFrames {
  int64_t samples, steps, inputs;
  Frames frames;

  static ShapedFrames of_spikes(const Array& spikes, const std::optional<Array>& kept, const MapShape& shape,
                                int threads) {
    const Maps maps = maps_of(shape);
    check_axes(spikes, "spikes", 4);
    const int64_t samples = static_cast<int64_t>(spikes.shape(0)), steps = static_cast<int64_t>(spikes.shape(1));
    const auto* words = values_of<uint16_t>(spikes, "spikes", words_shape(samples, steps, maps));
    const auto* mask = kept ? values_of<uint16_t>(*kept, "kept", words_shape(samples, 1, maps)) : nullptr;
    nb::gil_scoped_release release;
    return {samples, steps, maps.pixels() * maps.channels, Frames::of_spikes(words, mask, samples, steps, maps, threads)};
  }

  static ShapedFrames of_values(const Array& array, int threads) {
    check_axes(array, "values", 3);
    const auto shape = shape_of(array);
    const float* values = values_of<float>(array, "values", shape);
    nb::gil_scoped_release release;
    return {shape[0], shape[1], shape[2], Frames::of_values(values, shape[0], shape[1], shape[2], threads)};
  }

  void linear(const Array& weights, const Array& result, int threads) const {
    check_axes(result, "result", 3);
    const int64_t outputs = static_cast<int64_t>(result.shape(2));
    const float* rows = values_of<float>(weights, "weights", {1, inputs, padded(outputs)});
    float* sums = values_of<float>(result, "result", {samples, steps, outputs});
    nb::gil_scoped_release release;
    frames.linear(outputs, rows, sums, threads);
  }

  void add_weight_gradient(const Array& gradient, const Array& result, int threads) const {
    check_axes(gradient, "gradient", 3);
    const int64_t outputs = static_cast<int64_t>(gradient.shape(2));
    const float* values = values_of<float>(gradient, "gradient", {samples, steps, outputs});
    float* sums = values_of<float>(result, "weight gradients", {1, inputs, padded(outputs)});
    nb::gil_scoped_release release;
    frames.add_weight_gradient(outputs, values, sums, threads);
  }
};

// Runs part(sample, first, last) over all neurons of tensors (sample, step, ...).
template <typename Part>
void over_neurons(const std::vector<int64_t>& shape, int threads, Part part) {
  constexpr int64_t kBlock = 2048;  // over 15 steps, a tensor's part stays in the second cache
  int64_t width = 1;
  for (size_t i = 2; i < shape.size(); ++i) width *= shape[i];
  const int64_t blocks = (width + kBlock - 1) / kBlock;
  nb::gil_scoped_release release;
  parallel(shape[0] * blocks, threads, [&](int64_t task, int64_t) {
    const int64_t first = task % blocks * kBlock;
    part(task / blocks, first, std::min(first + kBlock, width));
  });
}

void integrate(const NeuronNumbers& numbers, const Array& currents, const Array& potentials, const Array& spikes,
               int threads) {
  const Neuron neuron = neuron_of(numbers);
  const Sequence from = sequence_of(currents, "currents", currents);
  const Sequence kept = sequence_of(potentials, "potentials", currents), fired = sequence_of(spikes, "spikes", currents);
  const auto shape = shape_of(currents);
  const int steps = steps_of(shape[1]);
  over_neurons(shape, threads, [&](int64_t n, int64_t first, int64_t last) {
    kernels().integrate(neuron, steps, from.of(n), kept.of(n), fired.of(n), first, last);
  });
}

void reverse(const NeuronNumbers& numbers, const Array& gradient, const Array& potentials, int threads) {
  const Neuron neuron = neuron_of(numbers);
  const Sequence changed = sequence_of(gradient, "gradient", gradient);
  const Sequence kept = sequence_of(potentials, "potentials", gradient);
  const auto shape = shape_of(gradient);
  const int steps = steps_of(shape[1]);
  over_neurons(shape, threads, [&](int64_t n, int64_t first, int64_t last) {
    kernels().reverse(neuron, steps, changed.of(n), kept.of(n), first, last);
  });
}

// Bits of what is not zero: (frame, channel, pixel) to (frame, pixel, word).
template <typename T>
void pack_as(const T* from, int64_t frames, const Maps& maps, uint16_t* to) {
  const int64_t pixels = maps.pixels(), count = maps.words();
  std::fill_n(to, frames * pixels * count, uint16_t{0});
  for (int64_t frame = 0; frame < frames; ++frame, to += pixels * count) {
    for (int c = 0; c < maps.channels; ++c, from += pixels) {
      for (int64_t p = 0; p < pixels; ++p)
        to[p * count + c / kVector] |= static_cast<uint16_t>((from[p] != 0) << (c % kVector));
    }
  }
}

MapShape channels_first(const std::vector<int64_t>& shape, size_t channels, size_t height) {
  const int64_t sizes[] = {shape[channels], shape[height], shape[height + 1]};
  require(*std::max_element(sizes, sizes + 3) <= std::numeric_limits<int>::max(), "maps must be smaller than 2^31");
  return {static_cast<int>(sizes[0]), static_cast<int>(sizes[1]), static_cast<int>(sizes[2])};
}

// From (sample, step, channel, height, width).
void pack(const Array& values, const Array& words) {
  check_axes(values, "values", 5);
  const auto shape = shape_of(values);
  const Maps maps = maps_of(channels_first(shape, 2, 3));
  uint16_t* to = values_of<uint16_t>(words, "words", words_shape(shape[0], shape[1], maps));
  if (values.dtype() == InPython<bool>::type) {
    const void* from = values_of<bool>(values, "values", shape);
    nb::gil_scoped_release release;
    pack_as(static_cast<const uint8_t*>(from), shape[0] * shape[1], maps, to);
  } else {
    const float* from = values_of<float>(values, "values", shape);
    nb::gil_scoped_release release;
    pack_as(from, shape[0] * shape[1], maps, to);
  }
}

// The reverse, to floats (sample, step, height, width, channel).
void unpack(const Array& words, const Array& floats) {
  check_axes(floats, "floats", 5);
  const auto shape = shape_of(floats);
  const Maps maps = maps_of(channels_first(shape, 4, 2));
  const uint16_t* from = values_of<uint16_t>(words, "words", words_shape(shape[0], shape[1], maps));
  float* to = values_of<float>(floats, "floats", shape);
  const int64_t rows = shape[0] * shape[1] * maps.pixels();
  nb::gil_scoped_release release;
  for (int64_t row = 0; row < rows; ++row, from += maps.words(), to += maps.channels)
    for (int c = 0; c < maps.channels; ++c) to[c] = static_cast<float>(from[c / kVector] >> (c % kVector) & 1);
}

}  // namespace
}  // namespace spikeflip

NB_MODULE(_native, module) {
  using namespace spikeflip;
  module.doc() = "Event-driven layers, for spikeflip.snn.engines.event and spikeflip.snn.fused.";
  module.attr("VECTOR") = kVector;

  nb::class_<Layers>(module, "MapLayers")
      .def("__init__", [](Layers* self, const MapShape& shape,
                          const NeuronNumbers& neuron) { new (self) Layers(maps_of(shape), neuron_of(neuron)); })
      .def("add_conv", &Layers::add_conv)
      .def("add_pool", &Layers::add_pool);

  nb::class_<Run>(module, "Pass")
      .def(nb::init<Layers&, std::optional<Array>, std::vector<StateArrays>, std::vector<DropoutArrays>, float, int>(),
           nb::keep_alive<1, 2>())
      .def("forward", &Run::forward)
      .def("neurons", &Run::neurons)
      .def("backward", &Run::backward);

  nb::class_<ShapedFrames>(module, "Frames")
      .def_static("of_spikes", &ShapedFrames::of_spikes)
      .def_static("of_values", &ShapedFrames::of_values)
      .def("linear", &ShapedFrames::linear)
      .def("add_weight_gradient", &ShapedFrames::add_weight_gradient);

  module.def("integrate", &integrate);
  module.def("reverse", &reverse);
  module.def("pack", &pack);
  module.def("unpack", &unpack);
  module.def(
      "why_not",
      [](const MapShape& below, int channels, int kernel, bool first) {
        return why_not(maps_of(below), channels, kernel, first);
      },
      "Why a convolution cannot be run on maps of that shape, None if it can; `first`: as the first layer.");
  module.def("use", &use_instructions,
             "Choose an instruction set (avx512, avx2, portable; empty: the best); False if it is not there.");
  module.def("instructions", &instructions);
}
