// The most multiply-adds that one thread of this machine does in a second, in GFLOP/s: twelve independent chains of
// registers, best of 40 rounds. Printed as one number.
#include <cstdio>
#include <ctime>

#include "simd.h"

using i3d::FloatV;

static double seconds() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

int main() {
    constexpr int CHAINS = 12, STEPS = 100000, ROUNDS = 40;
    FloatV chain[CHAINS];
    for (int i = 0; i < CHAINS; ++i) chain[i] = i3d::splat<FloatV>(1.0f + float(i));
    const FloatV factor = i3d::splat<FloatV>(1.0000001f), term = i3d::splat<FloatV>(1e-9f);
    double best = 0;
    for (int round = 0; round < ROUNDS; ++round) {
        const double start = seconds();
        for (int step = 0; step < STEPS; ++step) {
#pragma GCC unroll 12
            for (int i = 0; i < CHAINS; ++i) {
                chain[i] = chain[i] * factor + term;
                asm volatile("" : "+x"(chain[i]));  // keeps the chains apart, in registers, and the loop in place
            }
        }
        const double rate = 2.0 * i3d::Traits<FloatV>::lanes * CHAINS * STEPS / (seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    std::printf("%.1f\n", best);
}
