// CPU: threads that take tasks one by one. The caller takes tasks too and waits only for tasks that another thread has
// begun, never for a thread that has not woken up: on a busy machine that is the difference between losing a core and
// losing milliseconds at every step. A second caller at the same time runs its tasks by itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace i3d {

class ThreadPool {
  public:
    using Body = void (*)(void* context, int64_t task);

    // Runs all tasks on at most `threads` threads, the caller's included. The first exception of a task is thrown here.
    static void run(int64_t tasks, int threads, Body body, void* context) {
        ThreadPool& pool = instance();
        std::unique_lock<std::mutex> lock(pool.busy_, std::try_to_lock);
        if (tasks <= 1 || threads <= 1 || !lock.owns_lock()) {
            for (int64_t task = 0; task < tasks; ++task) body(context, task);
            return;
        }
        pool.run_shared(tasks, threads, body, context);
    }

  private:
    struct Job {
        Body body;
        void* context;
        int64_t tasks;
        int threads;
        std::atomic<int64_t> next{0};
        std::atomic<uint32_t> left{0};  // tasks not finished
        std::mutex failed;
        std::exception_ptr failure;

        void work() {
            for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
                try {
                    body(context, task);
                } catch (...) {
                    const std::lock_guard<std::mutex> guard(failed);
                    if (!failure) failure = std::current_exception();
                }
                if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) left.notify_all();
            }
        }
    };

    // About 20 microseconds: longer than the gaps between a kernel's stages, short enough to be no burden.
    static constexpr int SPINS = 500;

    static void pause() {
#if defined(__x86_64__)
        _mm_pause();
#endif
    }

    // A forked child has none of its parent's threads, so it gets a pool of its own. Never destroyed: threads may be
    // asleep in it when the process ends.
    static ThreadPool& instance() {
        static std::atomic<ThreadPool*> pool{new ThreadPool};
#if defined(__unix__) || defined(__APPLE__)
        static std::atomic<int> owner{getpid()};
        const int self = getpid();
        if (owner.exchange(self) != self) pool.store(new ThreadPool);
#endif
        return *pool.load();
    }

    void run_shared(int64_t tasks, int threads, Body body, void* context) {
        auto job = std::make_shared<Job>();
        job->body = body;
        job->context = context;
        job->tasks = tasks;
        job->threads = threads;
        job->left.store(uint32_t(tasks), std::memory_order_relaxed);
        {
            const std::lock_guard<std::mutex> guard(current_lock_);
            current_ = job;
        }
        generation_.fetch_add(1, std::memory_order_release);
        generation_.notify_all();
        for (; workers_ < threads - 1; ++workers_) std::thread([this, index = workers_] { worker(index); }).detach();
        job->work();
        int spins = 0;
        for (uint32_t left; (left = job->left.load(std::memory_order_acquire)) != 0;)
            if (++spins < SPINS)
                pause();
            else
                job->left.wait(left, std::memory_order_acquire);
        if (job->failure) std::rethrow_exception(job->failure);
    }

    void worker(int index) {
        uint32_t seen = 0;
        for (;;) {
            int spins = 0;
            uint32_t now;
            while ((now = generation_.load(std::memory_order_acquire)) == seen)
                if (++spins < SPINS)
                    pause();
                else
                    generation_.wait(seen, std::memory_order_acquire);
            seen = now;
            std::shared_ptr<Job> job;
            {
                const std::lock_guard<std::mutex> guard(current_lock_);
                job = current_;
            }
            if (index < job->threads - 1) job->work();
        }
    }

    std::mutex busy_, current_lock_;
    std::shared_ptr<Job> current_;
    std::atomic<uint32_t> generation_{0};
    int workers_ = 0;
};

}  // namespace i3d
