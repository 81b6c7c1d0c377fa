// Threads over independent tasks.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace spikeflip {

// Runs task(i, worker) for i from 0 to count - 1 on up to `threads` threads; an exception of any is thrown here.
template <typename Task>
void parallel(int64_t count, int threads, Task task) {
  const int64_t workers = std::min<int64_t>(count, std::max(threads, 1));
  if (workers <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i, 0);
    return;
  }
  std::atomic<int64_t> next{0};
  std::vector<std::exception_ptr> errors(static_cast<size_t>(workers));
  auto work = [&](int64_t worker) {
    try {
      for (int64_t i; (i = next.fetch_add(1)) < count;) task(i, worker);
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

}  // namespace spikeflip
