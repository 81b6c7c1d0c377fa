// The Python module.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "checked.hpp"
#include "parallel.hpp"

namespace spikeflip {
namespace {

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
  const Sequence kept = sequence_of(potentials, "potentials", currents);
  const Sequence fired = sequence_of(spikes, "spikes", currents);
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

// From (sample, step, channel, height, width).
void pack(const Array& values, const Array& words) {
  check_axes(values, "values", 5);
  const auto shape = shape_of(values);
  const Maps maps = maps_of({shape[2], shape[3], shape[4]});
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
  const Maps maps = maps_of({shape[4], shape[2], shape[3]});
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

  nb::class_<CheckedLayers>(module, "MapLayers")
      .def("__init__", [](CheckedLayers* self, const MapShape& shape,
                          const NeuronNumbers& neuron) { new (self) CheckedLayers(maps_of(shape), neuron_of(neuron)); })
      .def("add_conv", &CheckedLayers::add_conv)
      .def("add_pool", &CheckedLayers::add_pool);

  nb::class_<CheckedPass>(module, "Pass")
      .def(nb::init<CheckedLayers&, std::optional<Array>, std::vector<StateArrays>, std::vector<DropoutArrays>, float,
                    int>(),
           nb::keep_alive<1, 2>())
      .def("forward", &CheckedPass::forward)
      .def("neurons", &CheckedPass::neurons)
      .def("backward", &CheckedPass::backward);

  nb::class_<CheckedFrames>(module, "Frames")
      .def_static("of_spikes", &CheckedFrames::of_spikes)
      .def_static("of_values", &CheckedFrames::of_values)
      .def("linear", &CheckedFrames::linear)
      .def("add_weight_gradient", &CheckedFrames::add_weight_gradient);

  nb::class_<CheckedRescorer>(module, "Rescorer")
      .def(nb::init<CheckedLayers&, const std::vector<std::tuple<int64_t, Array>>&, Array, int64_t>(),
           nb::keep_alive<1, 2>())
      .def("scores", &CheckedRescorer::scores)
      .def("flip", &CheckedRescorer::flip);

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
