// What our CUDA sources need of CUDA, on the CPU: a block's threads are fibers of one thread, so that barriers, shared memory and
// exchanges within a warp do what they do on a card. Between two barriers a thread runs alone, and who is next is drawn anew each
// time (`set_order`): what depends on the order, for want of a barrier, comes out differently with another draw.
//
// A barrier that some of a block's threads do not reach is an error here, where a card would hang or go on with rubbish.
#pragma once

#include <algorithm>
#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <ucontext.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define __shared__ static
#define __align__(n) alignas(n)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline dim3 blockIdx, blockDim, gridDim, threadIdx;

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
    if (bytes) std::memcpy(to, from, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
    if (bytes) std::memset(to, value, bytes);
    return cudaSuccess;
}

struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits;
}
template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }
template <class T> T __ldg(const T* from) { return *from; }
template <class T> T atomicAdd(T* to, T value) {
    const T before = *to;
    *to += value;
    return before;
}
// Of several numbers at once: on a card they have to be aligned.
template <class T> void cuda_on_cpu_aligned(T* to) {
    if (reinterpret_cast<uintptr_t>(to) % sizeof(T)) throw std::runtime_error("an addition to memory that is not aligned");
}
inline void atomicAdd(float2* to, float2 value) {
    cuda_on_cpu_aligned(to);
    to->x += value.x, to->y += value.y;
}
inline void atomicAdd(float4* to, float4 value) {
    cuda_on_cpu_aligned(to);
    to->x += value.x, to->y += value.y, to->z += value.z, to->w += value.w;
}
template <class T> T atomicMax(T* to, T value) {
    const T before = *to;
    *to = max(before, value);
    return before;
}

namespace cuda_on_cpu {

constexpr int WARP = 32;
constexpr size_t STACK = 256 << 10;

enum class Waits { no, block, warp, done };

struct Fiber {
    jmp_buf place;
    bool started = false;
    Waits waits = Waits::no;
    int value = 0;                       // handed in at a barrier
    alignas(16) unsigned char lane[16];  // handed in at an exchange
};

inline uint64_t order = 1;
inline void set_order(uint64_t seed) { order = 2 * seed + 1; }

class Block {
  public:
    static Block*& current() {
        static Block* block = nullptr;
        return block;
    }

    Block(int threads, const std::function<void()>& body) : body_(body), fibers_(threads) {
        while (int(stacks().size()) < threads) stacks().emplace_back(new unsigned char[STACK]);
    }

    void run() {
        current() = this;
        const int threads = int(fibers_.size());
        std::vector<int> turns(threads);
        for (int t = 0; t < threads; ++t) turns[t] = t;
        for (int alive = threads; alive > 0;) {
            for (int t = threads - 1; t > 0; --t) {
                order ^= order << 13, order ^= order >> 7, order ^= order << 17;
                std::swap(turns[t], turns[order % (t + 1)]);
            }
            bool moved = false;
            for (int t : turns)
                if (fibers_[t].waits == Waits::no) {
                    moved = true;
                    resume(t);
                    if (fibers_[t].waits == Waits::done) --alive;
                }
            if (alive > 0 && !release() && !moved) throw std::runtime_error("a barrier that not all threads reach");
        }
    }

    // The sum of what the block's threads hand in, once all have come.
    int meet(int value) {
        fibers_[now_].value = value;
        yield(Waits::block);
        return sum_;
    }

    // What another lane of the warp hands in. `exchange` is called by all lanes with the same size.
    template <class T> T exchange(T value, int lane) {
        static_assert(sizeof(T) <= 16);
        std::memcpy(fibers_[now_].lane, &value, sizeof(T));
        const int here = now_;
        yield(Waits::warp);
        T found;
        std::memcpy(&found, fibers_[here / WARP * WARP + lane].lane, sizeof(T));
        // Nobody hands in anew before all have read.
        yield(Waits::warp);
        return found;
    }
    int lane() const { return now_ % WARP; }

  private:
    static std::vector<std::unique_ptr<unsigned char[]>>& stacks() {
        static std::vector<std::unique_ptr<unsigned char[]>> made;
        return made;
    }
    static void enter() {
        Block& block = *current();
        try {
            block.body_();
        } catch (const std::exception& error) {
            block.error_ = error.what();
        }
        block.yield(Waits::done);
    }

    void place_of(int t) {
        threadIdx.x = t % blockDim.x;
        threadIdx.y = t / blockDim.x % blockDim.y;
        threadIdx.z = t / (blockDim.x * blockDim.y);
    }

    __attribute__((noinline)) void resume(int t) {
        now_ = t;
        place_of(t);
        Fiber& fiber = fibers_[t];
        if (_setjmp(home_) == 0) {
            if (fiber.started) _longjmp(fiber.place, 1);
            fiber.started = true;
            ucontext_t context;
            getcontext(&context);
            context.uc_stack.ss_sp = stacks()[t].get();
            context.uc_stack.ss_size = STACK;
            context.uc_link = nullptr;
            makecontext(&context, &Block::enter, 0);
            setcontext(&context);
        }
        if (!error_.empty()) throw std::runtime_error(error_);
    }

    __attribute__((noinline)) void yield(Waits waits) {
        Fiber& fiber = fibers_[now_];
        fiber.waits = waits;
        if (_setjmp(fiber.place) == 0) _longjmp(home_, 1);
    }

    // Lets go on whoever has waited long enough; false where nobody has.
    bool release() {
        bool any = false;
        const int threads = int(fibers_.size());
        const auto all = [&](int from, int to, Waits waits) {
            for (int t = from; t < to; ++t)
                if (fibers_[t].waits != waits) return false;
            return true;
        };
        for (int from = 0; from < threads; from += WARP) {
            const int to = std::min(from + WARP, threads);
            if (!all(from, to, Waits::warp)) continue;
            for (int t = from; t < to; ++t) fibers_[t].waits = Waits::no;
            any = true;
        }
        if (!any && all(0, threads, Waits::block)) {
            // Taken now: who goes on first may be at the next barrier before the last one has read it.
            sum_ = 0;
            for (Fiber& fiber : fibers_) {
                sum_ += fiber.value;
                fiber.waits = Waits::no;
            }
            any = true;
        }
        return any;
    }

    const std::function<void()>& body_;
    std::vector<Fiber> fibers_;
    jmp_buf home_;
    std::string error_;
    int now_ = 0, sum_ = 0;
};

// What `kernel<<<grid, block>>>(arguments)` becomes.
inline void launch(dim3 grid, dim3 block, const std::function<void()>& body) {
    gridDim = grid, blockDim = block;
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = dim3(x, y, z);
                Block(int(block.x * block.y * block.z), body).run();
            }
}

}  // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::Block::current()->meet(0); }
inline int __syncthreads_count(int predicate) {
    return cuda_on_cpu::Block::current()->meet(predicate != 0);
}
inline int __syncthreads_or(int predicate) { return __syncthreads_count(predicate) > 0; }
inline void cuda_on_cpu_whole(unsigned mask) {
    if (mask != 0xffffffffu) throw std::runtime_error("an exchange within a part of a warp");
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits) {
    cuda_on_cpu_whole(mask);
    auto& block = *cuda_on_cpu::Block::current();
    return block.exchange(value, block.lane() ^ bits);
}
template <class T> T __shfl_sync(unsigned mask, T value, int lane) {
    cuda_on_cpu_whole(mask);
    return cuda_on_cpu::Block::current()->exchange(value, lane);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, int step) {
    cuda_on_cpu_whole(mask);
    auto& block = *cuda_on_cpu::Block::current();
    const int from = block.lane() + step;
    return block.exchange(value, from < cuda_on_cpu::WARP ? from : block.lane());
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    cuda_on_cpu_whole(mask);
    auto& block = *cuda_on_cpu::Block::current();
    unsigned bits = unsigned(predicate != 0) << block.lane();
    for (int step = 1; step < cuda_on_cpu::WARP; step *= 2) bits |= block.exchange(bits, block.lane() ^ step);
    return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == 0xffffffffu; }
inline void __syncwarp(unsigned mask = 0xffffffffu) { __ballot_sync(mask, 0); }
