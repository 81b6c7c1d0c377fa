#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <thread>

#if defined(_WIN32)
#include <process.h>
#define getpid _getpid
#else
#include <unistd.h>
#endif

namespace spikeflip {
namespace {

class Pool {
 public:
  void run(int64_t count, int workers, const std::function<void(int64_t, int64_t)>& task) {
    Job job{task, count, workers};
    std::unique_lock<std::mutex> lock(mutex_);
    for (; threads_ - busy_ < workers - 1; ++threads_) std::thread([this] { serve(); }).detach();
    const auto place = jobs_.insert(jobs_.end(), &job);
    lock.unlock();
    waiting_.notify_all();
    execute(job, 0);
    lock.lock();
    jobs_.erase(place);
    finished_.wait(lock, [&] { return job.helpers == 0; });
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  struct Job {
    const std::function<void(int64_t, int64_t)>& task;
    const int64_t count;
    const int workers;
    std::atomic<int64_t> next{0};
    int joined = 1;   // workers that took part, the caller first
    int helpers = 0;  // of them, those at work now, without the caller
    std::exception_ptr error;
    Job(const std::function<void(int64_t, int64_t)>& t, int64_t c, int w) : task(t), count(c), workers(w) {}
  };

  void execute(Job& job, int64_t worker) {
    try {
      for (int64_t i; (i = job.next.fetch_add(1)) < job.count;) job.task(i, worker);
    } catch (...) {
      job.next.store(job.count);
      const std::lock_guard<std::mutex> lock(mutex_);
      job.error = std::current_exception();
    }
  }

  // A job that wants another worker, or null.
  Job* open_job() {
    for (Job* job : jobs_)
      if (job->joined < job->workers && job->next.load() < job->count) return job;
    return nullptr;
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      waiting_.wait(lock, [&] { return (job = open_job()) != nullptr; });
      const int64_t worker = job->joined++;
      ++job->helpers;
      ++busy_;
      lock.unlock();
      execute(*job, worker);
      lock.lock();
      --busy_;
      if (--job->helpers == 0) finished_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable waiting_, finished_;
  std::list<Job*> jobs_;
  int threads_ = 0, busy_ = 0;
};

// Never destroyed, since its threads serve to the end. A forked process has none of them: it makes its own.
Pool& pool() {
  static std::mutex mutex;
  static Pool* made = nullptr;
  static int owner = 0;
  const std::lock_guard<std::mutex> lock(mutex);
  if (made == nullptr || owner != getpid()) {
    made = new Pool;
    owner = getpid();
  }
  return *made;
}

}  // namespace

void parallel(int64_t count, int threads, const std::function<void(int64_t, int64_t)>& task) {
  const int workers = static_cast<int>(std::min<int64_t>(count, std::clamp(threads, 1, kMostThreads)));
  if (workers > 1) return pool().run(count, workers, task);
  for (int64_t i = 0; i < count; ++i) task(i, 0);
}

}  // namespace spikeflip
