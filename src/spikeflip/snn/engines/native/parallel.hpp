// Threads over independent tasks. They are kept from call to call: starting one costs up to a millisecond.
#pragma once

#include <cstdint>
#include <functional>

namespace spikeflip {

constexpr int kMostThreads = 1024;

// Runs task(i, worker) for i from 0 to count - 1 on up to `threads` threads, the calling one among them, with workers
// numbered from 0; an exception of any task is thrown here. A task may call it again.
void parallel(int64_t count, int threads, const std::function<void(int64_t, int64_t)>& task);

}  // namespace spikeflip
