#include "rescoring.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "linear.hpp"
#include "parallel.hpp"

namespace spikeflip {
namespace {

// Rows that a thread takes at a time: fully-connected layers read their weights once for all of them.
constexpr int64_t kRows = 64;

// Frames after which those rows are run: more would push their sums, 4 vectors a frame, out of the second cache.
constexpr size_t kFrames = 256;

// Sums by events are scaled by one, as in a pass without dropout.
constexpr float kScale = 1.0f;

}  // namespace

Rescorer::Changes::Changes(int64_t pixels, int steps)
    : words_((steps + 63) / 64), steps_(static_cast<size_t>(pixels * words_)), known_(static_cast<size_t>(pixels)) {}

void Rescorer::Changes::add(int64_t pixel, int step) {
  if (!known_[static_cast<size_t>(pixel)]) pixels_.push_back(pixel);
  known_[static_cast<size_t>(pixel)] = 1;
  steps_[static_cast<size_t>(pixel * words_ + step / 64)] |= uint64_t{1} << (step % 64);
}

void Rescorer::Changes::add(int64_t pixel, const uint64_t* steps) {
  if (!known_[static_cast<size_t>(pixel)]) pixels_.push_back(pixel);
  known_[static_cast<size_t>(pixel)] = 1;
  for (int64_t i = 0; i < words_; ++i) steps_[static_cast<size_t>(pixel * words_ + i)] |= steps[i];
}

void Rescorer::Changes::clear() {
  for (const int64_t pixel : pixels_) {
    known_[static_cast<size_t>(pixel)] = 0;
    std::fill_n(steps_.data() + pixel * words_, words_, uint64_t{0});
  }
  pixels_.clear();
}

Rescorer::Rescorer(const MapLayers& layers, std::vector<Linear> linear, int steps, int64_t samples, uint16_t* input,
                   int64_t most)
    : layers_(layers),
      linear_(std::move(linear)),
      depth_(layers.size()),
      steps_(steps),
      input_(input),
      most_(std::max<int64_t>(most, 1)),
      held_(static_cast<size_t>(samples)) {}

void Rescorer::scores(const Flips& flips, float* counts, int threads) {
  std::vector<int64_t> order(static_cast<size_t>(flips.count));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return flips.rows[a] < flips.rows[b]; });
  const int64_t share = flips.count / (2 * int64_t{std::max(threads, 1)}) + 1;
  const size_t each = static_cast<size_t>(std::min(kRows, share));
  make_workers(flips.count, threads);
  for (size_t at = 0; at < order.size();) {
    std::vector<int64_t> samples;
    std::vector<Task> tasks;
    while (at < order.size() && static_cast<int64_t>(samples.size()) < most_) {
      const int64_t sample = flips.rows[order[at]];
      size_t end = at;
      while (end < order.size() && flips.rows[order[end]] == sample) ++end;
      for (; at < end; at = std::min(at + each, end)) tasks.push_back({sample, at, std::min(at + each, end)});
      samples.push_back(sample);
    }
    hold(samples, threads);
    parallel(static_cast<int64_t>(tasks.size()), threads, [&](int64_t i, int64_t worker) {
      const Task& task = tasks[static_cast<size_t>(i)];
      score(*held_[static_cast<size_t>(task.sample)], flips, order.data() + task.first, order.data() + task.last, counts,
            *workers_[static_cast<size_t>(worker)]);
    });
  }
}

void Rescorer::flip(const Flips& flips, int threads) {
  make_workers(flips.count, threads);
  std::vector<int64_t> versions(static_cast<size_t>(flips.count));
  for (int64_t& version : versions) version = ++versions_;
  parallel(flips.count, threads, [&](int64_t i, int64_t number) {
    Worker& worker = *workers_[static_cast<size_t>(number)];
    const int64_t* cells = flips.cells + i * flips.each;
    const int64_t sample = flips.rows[i];
    clear(worker);
    turn(cells, flips.each, input_ + sample * words(0), worker.changes[0]);
    auto held = std::move(held_[static_cast<size_t>(sample)]);  // made anew should memory run out on the way
    if (held == nullptr) return;
    worker.changes[0].clear();
    turn(cells, flips.each, held->spikes[0].data(), worker.changes[0]);
    run_maps(*held, held->spikes, true, worker);
    list_frames(0, held->spikes, worker);
    run_linear(*held, true, nullptr, worker);
    held->version = versions[static_cast<size_t>(i)];
    held_[static_cast<size_t>(sample)] = std::move(held);
  });
}

// What layer `layer` receives, or the last one sends.
const Maps& Rescorer::maps(size_t layer) const { return layer == 0 ? layers_.input() : layers_.above(layer - 1); }

int64_t Rescorer::words(size_t layer) const { return steps_ * maps(layer).pixels() * maps(layer).words(); }

void Rescorer::make_workers(int64_t tasks, int threads) {
  const int64_t wanted = std::min<int64_t>(tasks, std::clamp(threads, 1, kMostThreads));
  while (static_cast<int64_t>(workers_.size()) < wanted) {
    auto worker = std::make_unique<Worker>();
    worker->spikes.resize(depth_ + 1);
    for (size_t i = 0; i <= depth_; ++i) {
      worker->changes.emplace_back(maps(i).pixels(), steps_);
      worker->again.emplace_back(maps(i).pixels(), steps_);
    }
    workers_.push_back(std::move(worker));
  }
}

// Makes what is missing of samples, at most `most`, and lets others go where there would be more.
void Rescorer::hold(const std::vector<int64_t>& samples, int threads) {
  std::vector<int64_t> missing;
  for (const int64_t sample : samples)
    if (held_[static_cast<size_t>(sample)] == nullptr) missing.push_back(sample);
  const auto used = std::count_if(held_.begin(), held_.end(), [](const auto& held) { return held != nullptr; });
  if (used + static_cast<int64_t>(missing.size()) > most_) {
    for (size_t k = 0; k < held_.size(); ++k)
      if (!std::binary_search(samples.begin(), samples.end(), static_cast<int64_t>(k))) held_[k].reset();
  }
  const int64_t first = versions_ + 1;
  versions_ += static_cast<int64_t>(missing.size());
  parallel(static_cast<int64_t>(missing.size()), threads, [&](int64_t i, int64_t worker) {
    const int64_t sample = missing[static_cast<size_t>(i)];
    auto held = made(sample, *workers_[static_cast<size_t>(worker)]);
    held->version = first + i;
    held_[static_cast<size_t>(sample)] = std::move(held);
  });
}

// Without input all neurons rest, with currents of zero: a sample is that with all of its spikes flipped.
std::unique_ptr<Rescorer::Held> Rescorer::made(int64_t sample, Worker& worker) const {
  auto held = std::make_unique<Held>();
  clear(worker);
  for (size_t i = 0; i <= depth_; ++i) held->spikes.emplace_back(static_cast<size_t>(words(i)));
  for (size_t i = 0; i < depth_; ++i)
    held->currents.emplace_back(static_cast<size_t>(words(i + 1) * kVector));
  for (const Linear& layer : linear_) {
    const auto size = static_cast<size_t>(steps_ * layer.outputs);
    held->linear.push_back({std::vector<float>(size), std::vector<float>(size)});
  }
  const uint16_t* from = input_ + sample * words(0);
  std::copy_n(from, words(0), held->spikes[0].data());
  const int64_t pixels = maps(0).pixels();
  const int count = maps(0).words();
  for (int t = 0; t < steps_; ++t)
    for (int64_t p = 0; p < pixels; ++p, from += count)
      if (std::any_of(from, from + count, [](uint16_t word) { return word != 0; })) worker.changes[0].add(p, t);
  run_maps(*held, held->spikes, true, worker);
  list_frames(0, held->spikes, worker);
  run_linear(*held, true, nullptr, worker);
  return held;
}

void Rescorer::copy(const Held& held, Worker& worker) const {
  if (worker.version == held.version) return;
  worker.version = -1;
  for (size_t i = 0; i < held.spikes.size(); ++i) worker.spikes[i].assign(held.spikes[i].begin(), held.spikes[i].end());
}

// Rows of one sample, of which only the worker's copy changes. Their maps are run one after the other, their
// fully-connected layers together.
void Rescorer::score(Held& held, const Flips& flips, const int64_t* rows, const int64_t* end, float* counts,
                     Worker& worker) const {
  const int64_t outputs = linear_.back().outputs, version = held.version;
  copy(held, worker);
  clear(worker);
  worker.version = -1;  // should memory run out on the way
  for (; rows < end; ++rows) {
    count(held.linear.back().spikes, counts + *rows * outputs);
    turn(flips.cells + *rows * flips.each, flips.each, worker.spikes[0].data(), worker.changes[0]);
    run_maps(held, worker.spikes, false, worker);
    list_frames(*rows, worker.spikes, worker);
    for (auto word = worker.log.rbegin(); word != worker.log.rend(); ++word)
      worker.spikes[word->layer][static_cast<size_t>(word->at)] = word->before;
    worker.log.clear();
    turn(flips.cells + *rows * flips.each, flips.each, worker.spikes[0].data(), worker.changes[0]);
    for (Changes& changes : worker.changes) changes.clear();
    if (worker.frames.size() >= kFrames) run_linear(held, false, counts, worker);
  }
  run_linear(held, false, counts, worker);
  worker.version = version;
}

void Rescorer::turn(const int64_t* cells, int64_t each, uint16_t* input, Changes& changes) const {
  const Maps& maps = this->maps(0);
  for (int64_t i = 0; i < each; ++i) {
    if (cells[i] < 0) continue;
    const int64_t pixel = cells[i] % maps.pixels(), frame = cells[i] / maps.pixels();
    const int64_t channel = frame % maps.channels, step = frame / maps.channels;
    input[(step * maps.pixels() + pixel) * maps.words() + channel / kVector] ^=
        static_cast<uint16_t>(1u << (channel % kVector));
    changes.add(pixel, static_cast<int>(step));
  }
}

// Carries what has changed in the input through all map layers. With `keep` the currents are changed too; without it,
// what was there is logged.
void Rescorer::run_maps(Held& held, Spikes& spikes, bool keep, Worker& worker) const {
  for (size_t i = 0; i < depth_; ++i) {
    const MapLayers::Layer& layer = layers_.layer(i);
    const Maps &below = layer.below(), &above = layer.above();
    Changes& again = worker.again[i + 1];
    for (const int64_t pixel : worker.changes[i].pixels()) {
      const int y = static_cast<int>(pixel / below.width), x = static_cast<int>(pixel % below.width);
      const int size = layer.pool.size, reach = layer.conv.padding;
      const int top = layer.pooling ? y / size : std::max(0, y - reach);
      const int left = layer.pooling ? x / size : std::max(0, x - reach);
      const int bottom = std::min(above.height - 1, layer.pooling ? top : y + reach);
      const int right = std::min(above.width - 1, layer.pooling ? left : x + reach);
      for (int row = top; row <= bottom; ++row)
        for (int column = left; column <= right; ++column)
          again.add(static_cast<int64_t>(row) * above.width + column, worker.changes[i].steps(pixel));
    }
    worker.fired.resize(static_cast<size_t>(steps_ * above.words()));
    for (const int64_t pixel : again.pixels()) {
      const Again run{again.steps(pixel), held.currents[i].data() + pixel * steps_ * above.padded(), keep,
                      worker.fired.data()};
      if (layer.pooling) {
        kernels().pool_again(layer.pool, layers_.neuron(), steps_, kScale, spikes[i].data(), pixel, run);
      } else {
        kernels().conv_again(layer.conv, layers_.neuron(), steps_, kScale, spikes[i].data(), layer.forward, pixel, run,
                             worker.places);
      }
      compare(above, i + 1, pixel, spikes, keep, worker);
    }
    again.clear();
  }
}

// Puts a pixel's new spikes in the place of the old ones.
void Rescorer::compare(const Maps& maps, size_t layer, int64_t pixel, Spikes& spikes, bool keep, Worker& worker) const {
  const int count = maps.words();
  for (int t = 0; t < steps_; ++t) {
    const uint16_t* found = worker.fired.data() + t * count;
    const int64_t at = (t * maps.pixels() + pixel) * count;
    uint16_t* before = spikes[layer].data() + at;
    if (std::memcmp(found, before, static_cast<size_t>(count) * sizeof(uint16_t)) == 0) continue;
    worker.changes[layer].add(pixel, t);
    for (int w = 0; w < count; ++w) {
      if (found[w] == before[w]) continue;
      if (!keep) worker.log.push_back({layer, at + w, before[w]});
      before[w] = found[w];
    }
  }
}

// The steps at which what the first fully-connected layer receives has changed, and what it receives then.
void Rescorer::list_frames(int64_t row, const Spikes& spikes, Worker& worker) const {
  const Changes& changes = worker.changes.back();
  if (changes.pixels().empty()) return;
  const int64_t size = maps(depth_).pixels() * maps(depth_).words();
  for (int t = 0; t < steps_; ++t) {
    const bool changed = std::any_of(changes.pixels().begin(), changes.pixels().end(), [&](int64_t pixel) {
      return (changes.steps(pixel)[t / 64] >> (t % 64) & 1) != 0;
    });
    if (!changed) continue;
    worker.frames.push_back({row, t});
    const uint16_t* from = spikes.back().data() + t * size;
    worker.words.insert(worker.words.end(), from, from + size);
  }
}

// Runs the fully-connected layers on the frames listed, and forgets them. With `keep` what is held of these layers is
// changed, else the counts of the frames' rows.
void Rescorer::run_linear(Held& held, bool keep, float* counts, Worker& worker) const {
  for (size_t j = 0; j < linear_.size() && !worker.frames.empty(); ++j) {
    const int64_t outputs = linear_[j].outputs, frames = static_cast<int64_t>(worker.frames.size());
    const Frames listed =
        j == 0 ? Frames::of_spikes(worker.words.data(), nullptr, 1, frames, maps(depth_), 1)
               : Frames::of_values(worker.values.data(), 1, frames, linear_[j - 1].outputs, 1);
    worker.currents.resize(static_cast<size_t>(frames * outputs));
    listed.linear(outputs, linear_[j].weights, worker.currents.data(), 1);
    worker.values.clear();
    const std::vector<Frame> all = std::move(worker.frames);
    worker.frames.clear();
    for (size_t first = 0, last; first < all.size(); first = last) {
      for (last = first; last < all.size() && all[last].row == all[first].row;) ++last;
      HeldLinear& layer = held.linear[j];
      worker.sequence.assign(layer.currents.begin(), layer.currents.end());
      for (size_t f = first; f < last; ++f)
        std::copy_n(worker.currents.data() + static_cast<int64_t>(f) * outputs, outputs,
                    worker.sequence.data() + all[f].step * outputs);
      run_outputs(layer, outputs, all[first].row, keep, worker);
      if (!keep && j + 1 == linear_.size()) count(worker.outputs, counts + all[first].row * outputs);
    }
  }
  worker.frames.clear();
  worker.words.clear();
}

// Runs a fully-connected layer's neurons on the sequence of their currents, and lists the steps at which they now send
// something else.
void Rescorer::run_outputs(HeldLinear& held, int64_t outputs, int64_t row, bool keep, Worker& worker) const {
  worker.potentials.resize(worker.sequence.size());
  worker.outputs.resize(worker.sequence.size());
  kernels().integrate(layers_.neuron(), steps_, {worker.sequence.data(), 0, outputs},
                      {worker.potentials.data(), 0, outputs}, {worker.outputs.data(), 0, outputs}, 0, outputs);
  for (int t = 0; t < steps_; ++t) {
    const float* found = worker.outputs.data() + t * outputs;
    if (std::memcmp(found, held.spikes.data() + t * outputs, static_cast<size_t>(outputs) * sizeof(float)) == 0)
      continue;
    worker.frames.push_back({row, t});
    worker.values.insert(worker.values.end(), found, found + outputs);
  }
  if (keep) {
    held.currents = worker.sequence;
    held.spikes = worker.outputs;
  }
}

void Rescorer::count(const std::vector<float>& spikes, float* counts) const {
  const int64_t outputs = linear_.back().outputs;
  std::fill_n(counts, outputs, 0.0f);
  for (int t = 0; t < steps_; ++t)
    for (int64_t k = 0; k < outputs; ++k) counts[k] += spikes[static_cast<size_t>(t * outputs + k)];
}

// What an error may have left.
void Rescorer::clear(Worker& worker) const {
  for (Changes& changes : worker.changes) changes.clear();
  for (Changes& again : worker.again) again.clear();
  worker.log.clear();
  worker.frames.clear();
  worker.words.clear();
}

}  // namespace spikeflip
