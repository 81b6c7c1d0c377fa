// The Python module. Arrays are passed as addresses; the caller, engines/event.py, answers for shapes and types.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "linear.hpp"
#include "map_layers.hpp"
#include "parallel.hpp"

namespace nb = nanobind;

namespace spikeflip {
namespace {

using Address = uintptr_t;

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

Neuron neuron_of(const std::tuple<float, float, int, float, float, float>& n) {
  return {std::get<0>(n), std::get<1>(n), std::get<2>(n), std::get<3>(n), std::get<4>(n), std::get<5>(n)};
}

Maps maps_of(const std::tuple<int, int, int>& shape) {  // as PyTorch has it: channels, height, width
  return {std::get<1>(shape), std::get<2>(shape), std::get<0>(shape)};
}

Pass pass_of(int steps, Address input, const std::vector<std::tuple<Address, Address, Address>>& states,
             const std::vector<std::tuple<Address, float>>& dropout, float most_dense, int threads) {
  Pass pass{steps, at<const uint16_t>(input), {}, {}, most_dense, threads};
  for (const auto& [potentials, inside, fired] : states)
    pass.states.push_back({at<float>(potentials), at<uint16_t>(inside), at<uint16_t>(fired)});
  for (const auto& [kept, scale] : dropout) pass.dropout.push_back({at<const uint16_t>(kept), scale});
  return pass;
}

std::vector<int> backward(MapLayers& layers, const Pass& pass,
                          const std::vector<std::tuple<int64_t, int, Address, Address, Address>>& starts,
                          const std::vector<Address>& weights) {
  std::vector<Start> given;
  for (const auto& [sample, layer, gradient, stopped, result] : starts)
    given.push_back({sample, layer, at<const float>(gradient), at<float>(stopped), at<float>(result)});
  std::vector<float*> sums;
  for (const Address address : weights) sums.push_back(at<float>(address));
  nb::gil_scoped_release release;
  return layers.backward(pass, given, sums);
}

using SequenceNumbers = std::tuple<Address, int64_t, int64_t>;
using NeuronNumbers = std::tuple<float, float, int, float, float, float>;

Sequence sequence_of(const SequenceNumbers& numbers, int64_t sample) {
  const auto& [address, samples, steps] = numbers;
  return {at<float>(address) + sample * samples, samples, steps};
}

// Runs part(sample, first, last) over all neurons of (sample, step, neuron) tensors.
template <typename Part>
void over_neurons(int64_t samples, int64_t width, int threads, Part part) {
  constexpr int64_t kBlock = 2048;  // over 15 steps, a tensor's part stays in the second cache
  const int64_t blocks = (width + kBlock - 1) / kBlock;
  nb::gil_scoped_release release;
  parallel(samples * blocks, threads, [&](int64_t task, int64_t) {
    const int64_t first = task % blocks * kBlock;
    part(task / blocks, first, std::min(first + kBlock, width));
  });
}

void integrate(const NeuronNumbers& numbers, int64_t samples, int steps, int64_t width,
               const SequenceNumbers& currents, const SequenceNumbers& potentials, const SequenceNumbers& spikes,
               int threads) {
  const Neuron neuron = neuron_of(numbers);
  over_neurons(samples, width, threads, [&](int64_t n, int64_t first, int64_t last) {
    kernels().integrate(neuron, steps, sequence_of(currents, n), sequence_of(potentials, n), sequence_of(spikes, n),
                        first, last);
  });
}

void reverse(const NeuronNumbers& numbers, int64_t samples, int steps, int64_t width, const SequenceNumbers& gradient,
             const SequenceNumbers& potentials, int threads) {
  const Neuron neuron = neuron_of(numbers);
  over_neurons(samples, width, threads, [&](int64_t n, int64_t first, int64_t last) {
    kernels().reverse(neuron, steps, sequence_of(gradient, n), sequence_of(potentials, n), first, last);
  });
}

// Bits of what is not zero: (frame, channel, pixel) to (frame, pixel, word).
template <typename T>
void pack(Address values, int64_t frames, int channels, int64_t pixels, Address words) {
  nb::gil_scoped_release release;
  const T* from = at<const T>(values);
  uint16_t* to = at<uint16_t>(words);
  const int count = words_of(channels);
  std::fill_n(to, frames * pixels * count, uint16_t{0});
  for (int64_t frame = 0; frame < frames; ++frame, to += pixels * count) {
    for (int c = 0; c < channels; ++c, from += pixels) {
      for (int64_t p = 0; p < pixels; ++p)
        to[p * count + c / kVector] |= static_cast<uint16_t>((from[p] != 0) << (c % kVector));
    }
  }
}

// The reverse for (row, channel), to floats.
void unpack(Address words, int64_t rows, int channels, Address floats) {
  nb::gil_scoped_release release;
  const uint16_t* from = at<const uint16_t>(words);
  float* to = at<float>(floats);
  for (int64_t row = 0; row < rows; ++row, from += words_of(channels), to += channels)
    for (int c = 0; c < channels; ++c) to[c] = static_cast<float>(from[c / kVector] >> (c % kVector) & 1);
}

}  // namespace
}  // namespace spikeflip

NB_MODULE(_native, module) {
  using namespace spikeflip;
  module.doc() = "Event-driven layers on addresses of arrays; called by spikeflip.snn.engines.event alone.";
  module.attr("VECTOR") = kVector;
  module.attr("LARGEST_KERNEL") = kMostRows;

  nb::class_<Pass>(module, "Pass").def("__init__", [](Pass* self, int steps, Address input,
                                                      const std::vector<std::tuple<Address, Address, Address>>& states,
                                                      const std::vector<std::tuple<Address, float>>& dropout,
                                                      float most_dense, int threads) {
    new (self) Pass(pass_of(steps, input, states, dropout, most_dense, threads));
  });

  nb::class_<MapLayers>(module, "MapLayers")
      .def("__init__",
           [](MapLayers* self, const std::tuple<int, int, int>& shape,
              const std::tuple<float, float, int, float, float, float>& neuron) {
             new (self) MapLayers(maps_of(shape), neuron_of(neuron));
           })
      .def("add_conv",
           [](MapLayers& self, int channels, int kernel, Address forward, Address backward) {
             self.add_conv(channels, kernel, at<const float>(forward), at<const float>(backward));
           })
      .def("add_pool", &MapLayers::add_pool)
      .def("forward", &MapLayers::forward, nb::call_guard<nb::gil_scoped_release>())
      .def("neurons",
           [](const MapLayers& self, const Pass& pass, int layer, int64_t sample, Address current) {
             self.neurons(pass, layer, sample, at<const float>(current));
           })
      .def("backward", &backward);

  nb::class_<Frames>(module, "Frames")
      .def_static("of_spikes",
                  [](Address spikes, Address kept, int64_t samples, int64_t steps,
                     const std::tuple<int, int, int>& shape, int threads) {
                    nb::gil_scoped_release release;
                    return Frames::of_spikes(at<const uint16_t>(spikes), at<const uint16_t>(kept), samples, steps,
                                             maps_of(shape), threads);
                  })
      .def_static("of_values",
                  [](Address values, int64_t samples, int64_t steps, int64_t inputs, int threads) {
                    nb::gil_scoped_release release;
                    return Frames::of_values(at<const float>(values), samples, steps, inputs, threads);
                  })
      .def("linear",
           [](const Frames& self, int64_t outputs, Address weights, Address result, int threads) {
             nb::gil_scoped_release release;
             self.linear(outputs, at<const float>(weights), at<float>(result), threads);
           })
      .def("add_weight_gradient",
           [](const Frames& self, int64_t outputs, Address gradient, Address result, int threads) {
             nb::gil_scoped_release release;
             self.add_weight_gradient(outputs, at<const float>(gradient), at<float>(result), threads);
           });

  module.def("integrate", &integrate);
  module.def("reverse", &reverse);
  module.def("pack_floats", &pack<float>);
  module.def("pack_bytes", &pack<uint8_t>);
  module.def("unpack", &unpack);
  module.def("use", &use_instructions,
             "Choose an instruction set (avx512, avx2, portable; empty: the best); False if it is not there.");
  module.def("instructions", &instructions);
}
