// The Python module: layers over many samples, with threads over samples and rows. Arrays are passed as addresses; the
// caller (engines/event.py) has checked shapes, types and contiguity.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "kernels.hpp"

namespace nb = nanobind;

namespace spikeflip {
namespace {

const Kernels* choose(const std::string& name) {
#if defined(SPIKEFLIP_X86)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && (name.empty() || name == "avx512")) return &kAvx512;
  if (avx2 && (name.empty() || name == "avx2")) return &kAvx2;
#endif
  if (name.empty() || name == "portable") return &kPortable;
  return nullptr;
}

std::string name_of(const Kernels* kernels) {
#if defined(SPIKEFLIP_X86)
  if (kernels == &kAvx512) return "avx512";
  if (kernels == &kAvx2) return "avx2";
#endif
  return kernels == &kPortable ? "portable" : "none";
}

const Kernels* active = choose("");

template <typename T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// Runs task(0) to task(count - 1) on up to `threads` threads; an exception of any of them is thrown here.
template <typename Task>
void parallel(int64_t count, int threads, Task task) {
  const int64_t workers = std::min<int64_t>(count, std::max(threads, 1));
  if (workers <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  std::atomic<int64_t> next{0};
  std::vector<std::exception_ptr> errors(static_cast<size_t>(workers));
  auto work = [&](int64_t worker) {
    try {
      for (int64_t i; (i = next.fetch_add(1)) < count;) task(i);
    } catch (...) {
      errors[static_cast<size_t>(worker)] = std::current_exception();
      next.store(count);
    }
  };
  std::vector<std::thread> pool;
  for (int64_t w = 1; w < workers; ++w) pool.emplace_back(work, w);
  work(0);
  for (auto& thread : pool) thread.join();
  for (auto& error : errors)
    if (error) std::rethrow_exception(error);
}

// The active entries of some samples, listed sample by sample; each has `rows` rows (frames times pixels) of `channels`.
struct Lists {
  Lists() = default;
  Lists(const Lists&) = delete;

  struct Sample {
    std::vector<int64_t> offsets;
    std::unique_ptr<uint32_t[]> channels;
    std::unique_ptr<float[]> values;
    Active active() const { return {offsets.data(), channels.get(), values.get()}; }
    int64_t count() const { return offsets.back(); }
  };
  std::vector<Sample> samples;
  int64_t rows = 0;

  std::vector<int64_t> counts() const {
    std::vector<int64_t> result;
    for (const Sample& sample : samples) result.push_back(sample.count());
    return result;
  }
};

template <typename T, typename Count, typename List>
std::unique_ptr<Lists> make_lists(uintptr_t address, int64_t samples, int64_t rows, int channels, bool with_values,
                                  int threads, Count count, List list) {
  auto lists = std::make_unique<Lists>();
  lists->samples.resize(static_cast<size_t>(samples));
  lists->rows = rows;
  nb::gil_scoped_release release;
  parallel(samples, threads, [&](int64_t n) {
    const T* data = at<const T>(address) + n * rows * channels;
    Lists::Sample& sample = lists->samples[static_cast<size_t>(n)];
    sample.offsets.resize(static_cast<size_t>(rows) + 1);
    count(data, rows, channels, sample.offsets.data());
    int64_t total = 0;
    for (int64_t& offset : sample.offsets) {
      const int64_t here = &offset == &sample.offsets.back() ? 0 : offset;
      offset = total;
      total += here;
    }
    sample.channels.reset(new uint32_t[static_cast<size_t>(total) + 1]);
    if (with_values) sample.values.reset(new float[static_cast<size_t>(total) + 1]);
    list(data, rows, channels, sample);
  });
  return lists;
}

std::unique_ptr<Lists> list_spikes(uintptr_t spikes, int64_t samples, int64_t rows, int channels, int threads) {
  return make_lists<uint8_t>(spikes, samples, rows, channels, false, threads, active->count_bytes,
                             [](const uint8_t* data, int64_t r, int c, Lists::Sample& sample) {
                               active->list_bytes(data, r, c, sample.offsets.data(), sample.channels.get());
                             });
}

std::unique_ptr<Lists> list_gradient(uintptr_t gradient, int64_t samples, int64_t rows, int channels, int threads) {
  return make_lists<float>(gradient, samples, rows, channels, true, threads, active->count_floats,
                           [](const float* data, int64_t r, int c, Lists::Sample& sample) {
                             active->list_floats(data, r, c, sample.offsets.data(), sample.channels.get(),
                                                 sample.values.get());
                           });
}

using ConvNumbers = std::tuple<int, int, int, int, int, int, int>;
using NeuronNumbers = std::tuple<float, float, int, float, float, float>;

Conv conv_of(const ConvNumbers& n) {
  return {std::get<0>(n), std::get<1>(n), std::get<2>(n), std::get<3>(n),
          std::get<4>(n), std::get<5>(n), std::get<6>(n)};
}

Neuron neuron_of(const NeuronNumbers& n) {
  return {std::get<0>(n), std::get<1>(n), std::get<2>(n), std::get<3>(n), std::get<4>(n), std::get<5>(n)};
}

// Rows of a map that one task computes: few enough that threads share small batches evenly.
int rows_a_task(int height, int64_t samples, int threads) {
  const int64_t tasks = std::max<int64_t>(1, (4 * threads + samples - 1) / std::max<int64_t>(samples, 1));
  return static_cast<int>(std::max<int64_t>(1, (height + tasks - 1) / tasks));
}

void conv_forward(const Lists& lists, const std::vector<int64_t>& samples, const ConvNumbers& numbers,
                  const NeuronNumbers& neuron_numbers, int steps, uintptr_t weights, uintptr_t potentials,
                  uintptr_t spikes, int threads) {
  const Conv conv = conv_of(numbers);
  const Neuron neuron = neuron_of(neuron_numbers);
  const int64_t size = static_cast<int64_t>(steps) * conv.height * conv.width * conv.out;
  const int64_t count = static_cast<int64_t>(samples.size());
  const int rows = rows_a_task(conv.height, count, threads), tiles = (conv.height + rows - 1) / rows;
  nb::gil_scoped_release release;
  parallel(count * tiles, threads, [&](int64_t task) {
    const int64_t n = samples[static_cast<size_t>(task / tiles)];
    const int first = static_cast<int>(task % tiles) * rows;
    active->conv_forward(conv, neuron, steps, lists.samples[static_cast<size_t>(n)].active(), at<const float>(weights),
                         at<float>(potentials) + n * size, at<uint8_t>(spikes) + n * size, first,
                         std::min(first + rows, conv.height));
  });
}

// `potential_rows` says which sample's potentials belong to each gradient; empty where there is no layer below.
void conv_backward(const Lists& lists, const std::vector<int64_t>& samples, const ConvNumbers& numbers,
                   const NeuronNumbers& neuron_numbers, int steps, uintptr_t weights, uintptr_t potentials,
                   const std::vector<int64_t>& potential_rows, uintptr_t result, int threads) {
  const Conv conv = conv_of(numbers);
  const Neuron neuron = neuron_of(neuron_numbers);
  const int64_t size = static_cast<int64_t>(steps) * conv.height * conv.width * conv.out;
  const int64_t count = static_cast<int64_t>(samples.size());
  const int rows = rows_a_task(conv.height, count, threads), tiles = (conv.height + rows - 1) / rows;
  nb::gil_scoped_release release;
  parallel(count * tiles, threads, [&](int64_t task) {
    const int64_t n = samples[static_cast<size_t>(task / tiles)];
    const int first = static_cast<int>(task % tiles) * rows;
    const float* below =
        potentials == 0 ? nullptr : at<const float>(potentials) + potential_rows[static_cast<size_t>(n)] * size;
    active->conv_backward(conv, neuron, steps, lists.samples[static_cast<size_t>(n)].active(),
                          at<const float>(weights), below, at<float>(result) + n * size, first,
                          std::min(first + rows, conv.height));
  });
}

using PoolNumbers = std::tuple<int, int, int, int>;

Pool pool_of(const PoolNumbers& n) { return {std::get<0>(n), std::get<1>(n), std::get<2>(n), std::get<3>(n)}; }

void pool_forward(int64_t samples, const PoolNumbers& numbers, const NeuronNumbers& neuron_numbers, int steps,
                  uintptr_t input, uintptr_t potentials, uintptr_t spikes, int threads) {
  const Pool pool = pool_of(numbers);
  const Neuron neuron = neuron_of(neuron_numbers);
  const int64_t in = static_cast<int64_t>(steps) * pool.height * pool.width * pool.channels;
  const int64_t out = static_cast<int64_t>(steps) * pool.rows() * pool.columns() * pool.channels;
  nb::gil_scoped_release release;
  parallel(samples, threads, [&](int64_t n) {
    active->pool_forward(pool, neuron, steps, at<const uint8_t>(input) + n * in, at<float>(potentials) + n * out,
                         at<uint8_t>(spikes) + n * out, 0, pool.rows());
  });
}

void pool_backward(const PoolNumbers& numbers, const NeuronNumbers& neuron_numbers, int steps, uintptr_t gradient,
                   uintptr_t potentials, const std::vector<int64_t>& potential_rows, int64_t samples, uintptr_t result,
                   int threads) {
  const Pool pool = pool_of(numbers);
  const Neuron neuron = neuron_of(neuron_numbers);
  const int64_t in = static_cast<int64_t>(steps) * pool.height * pool.width * pool.channels;
  const int64_t out = static_cast<int64_t>(steps) * pool.rows() * pool.columns() * pool.channels;
  nb::gil_scoped_release release;
  parallel(samples, threads, [&](int64_t n) {
    const float* below =
        potentials == 0 ? nullptr : at<const float>(potentials) + potential_rows[static_cast<size_t>(n)] * in;
    active->pool_backward(pool, neuron, steps, at<const float>(gradient) + n * out, below, at<float>(result) + n * in,
                          0, pool.height);
  });
}

// Lists turned round: for each input the frames in which it is active, so that a row of weights is read once.
struct ByInput {
  std::vector<int64_t> offsets;
  std::vector<uint32_t> frames;
  std::vector<float> values;
  Active active() const { return {offsets.data(), frames.data(), values.empty() ? nullptr : values.data()}; }
};

ByInput turned_round(const Lists& lists, int64_t inputs) {
  ByInput result;
  result.offsets.assign(static_cast<size_t>(inputs) + 1, 0);
  int64_t total = 0;
  bool with_values = false;
  for (const auto& sample : lists.samples) {
    total += sample.count();
    with_values |= sample.values != nullptr;
    for (int64_t i = 0; i < sample.count(); ++i) ++result.offsets[sample.channels[static_cast<size_t>(i)] + 1];
  }
  for (size_t i = 1; i < result.offsets.size(); ++i) result.offsets[i] += result.offsets[i - 1];
  result.frames.resize(static_cast<size_t>(total) + 1);
  if (with_values) result.values.resize(static_cast<size_t>(total) + 1);
  std::vector<int64_t> next(result.offsets.begin(), result.offsets.end() - 1);
  int64_t frame = 0;
  for (const auto& sample : lists.samples) {
    for (int64_t r = 0; r < lists.rows; ++r, ++frame) {
      for (int64_t i = sample.offsets[static_cast<size_t>(r)]; i < sample.offsets[static_cast<size_t>(r) + 1]; ++i) {
        const auto place = static_cast<size_t>(next[sample.channels[static_cast<size_t>(i)]]++);
        result.frames[place] = static_cast<uint32_t>(frame);
        if (with_values) result.values[place] = sample.values[static_cast<size_t>(i)];
      }
    }
  }
  return result;
}

void linear(const Lists& lists, int64_t inputs, int64_t outputs, int64_t outputs_padded, uintptr_t weights,
            uintptr_t result, int threads) {
  const int64_t frames = static_cast<int64_t>(lists.samples.size()) * lists.rows;
  nb::gil_scoped_release release;
  const ByInput turned = turned_round(lists, inputs);
  constexpr int64_t kBlock = 4 * kVector;
  parallel((outputs + kBlock - 1) / kBlock, threads, [&](int64_t block) {
    std::vector<float> scratch(static_cast<size_t>(frames * kBlock + kVector));
    active->linear(inputs, outputs, outputs_padded, turned.active(), at<const float>(weights), at<float>(result),
                   block * kBlock, std::min((block + 1) * kBlock, outputs), frames, scratch.data());
  });
}

// Adds the weight gradient of all samples to `result`, (tap, in, out_padded).
void conv_weights(const Lists& lists, const ConvNumbers& numbers, int steps, uintptr_t gradient, uintptr_t result,
                  int threads) {
  const Conv conv = conv_of(numbers);
  const int64_t size = static_cast<int64_t>(steps) * conv.height * conv.width * conv.out;
  constexpr int kBlock = 4 * kVector;  // of output channels: a tap's part of the gradient stays in the cache
  const int blocks = (conv.out + kBlock - 1) / kBlock;
  nb::gil_scoped_release release;
  parallel(static_cast<int64_t>(conv.kernel) * conv.kernel * blocks, threads, [&](int64_t task) {
    const int tap = static_cast<int>(task / blocks), first = static_cast<int>(task % blocks) * kBlock;
    for (size_t n = 0; n < lists.samples.size(); ++n)
      active->conv_weights(conv, steps, lists.samples[n].active(), at<const float>(gradient) + static_cast<int64_t>(n) * size,
                           tap, first, std::min(first + kBlock, conv.out),
                           at<float>(result) + static_cast<int64_t>(tap) * conv.in * conv.out_padded);
  });
}

void linear_weights(const Lists& lists, int64_t inputs, int64_t outputs, int64_t outputs_padded, uintptr_t gradient,
                    uintptr_t result, int threads) {
  nb::gil_scoped_release release;
  const ByInput turned = turned_round(lists, inputs);
  constexpr int64_t kBlock = 256;
  parallel((inputs + kBlock - 1) / kBlock, threads, [&](int64_t block) {
    active->linear_weights(outputs, outputs_padded, turned.active(), at<const float>(gradient), block * kBlock,
                           std::min((block + 1) * kBlock, inputs), at<float>(result));
  });
}

void neurons_forward(const NeuronNumbers& numbers, int64_t samples, int steps, int64_t width, uintptr_t currents,
                     uintptr_t potentials, uintptr_t spikes, int threads) {
  const Neuron neuron = neuron_of(numbers);
  nb::gil_scoped_release release;
  parallel(samples, threads, [&](int64_t n) {
    const int64_t start = n * steps * width;
    active->neurons_forward(neuron, steps, width, width, at<const float>(currents) + start,
                            at<float>(potentials) + start, at<uint8_t>(spikes) + start);
  });
}

void neurons_backward(const NeuronNumbers& numbers, const std::vector<int64_t>& potential_rows, int steps,
                      int64_t width, uintptr_t potentials, uintptr_t gradient, int threads) {
  const Neuron neuron = neuron_of(numbers);
  nb::gil_scoped_release release;
  parallel(static_cast<int64_t>(potential_rows.size()), threads, [&](int64_t n) {
    active->neurons_backward(neuron, steps, width, width,
                             at<const float>(potentials) + potential_rows[static_cast<size_t>(n)] * steps * width,
                             at<float>(gradient) + n * steps * width);
  });
}

bool use(const std::string& name) {
  const Kernels* found = choose(name);
  if (found == nullptr) return false;
  active = found;
  return true;
}

}  // namespace
}  // namespace spikeflip

NB_MODULE(_native, module) {
  using namespace spikeflip;
  module.doc() = "Event-driven layers on addresses of arrays; called by spikeflip.snn.engines.event alone.";
  module.attr("VECTOR") = kVector;
  module.attr("MOST_TAPS") = kMostTaps;
  nb::class_<Lists>(module, "Lists").def("counts", &Lists::counts);
  module.def("list_spikes", &list_spikes);
  module.def("list_gradient", &list_gradient);
  module.def("conv_forward", &conv_forward);
  module.def("conv_backward", &conv_backward);
  module.def("pool_forward", &pool_forward);
  module.def("pool_backward", &pool_backward);
  module.def("linear", &linear);
  module.def("conv_weights", &conv_weights);
  module.def("linear_weights", &linear_weights);
  module.def("neurons_forward", &neurons_forward);
  module.def("neurons_backward", &neurons_backward);
  module.def("use", &use, "Choose an instruction set (avx512, avx2, portable; empty: the best); False if it is not there.");
  module.def("instructions", [] { return name_of(active); });
}
