#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <numeric>

namespace cub {

template <class T>
struct DoubleBuffer {
    T* buffers[2];
    int selector = 0;
    DoubleBuffer(T* current, T* alternate) : buffers{current, alternate} {}
    T* Current() { return buffers[selector]; }
    T* Alternate() { return buffers[selector ^ 1]; }
};

struct DeviceRadixSort {
    // Looks at the bits from `begin` to `end` alone, as the card's does; stable.
    template <class Key, class Value>
    static cudaError_t SortPairs(void* memory, size_t& bytes, DoubleBuffer<Key>& keys, DoubleBuffer<Value>& values, int count,
                                 int begin, int end, cudaStream_t) {
        if (memory == nullptr) {
            bytes = 1;
            return cudaSuccess;
        }
        const Key mask = (end - begin >= int(8 * sizeof(Key)) ? ~Key(0) : (Key(1) << (end - begin)) - 1) << begin;
        std::vector<int> order(count);
        std::iota(order.begin(), order.end(), 0);
        const Key* from = keys.Current();
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return (from[a] & mask) < (from[b] & mask); });
        for (int i = 0; i < count; ++i) {
            keys.Alternate()[i] = from[order[i]];
            values.Alternate()[i] = values.Current()[order[i]];
        }
        keys.selector ^= 1, values.selector ^= 1;
        return cudaSuccess;
    }
};

}  // namespace cub
