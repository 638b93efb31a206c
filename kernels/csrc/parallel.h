// How a CPU launcher asks for its tasks to be run on all cores without knowing by what.
#pragma once

#include <cstdint>

namespace i3d {

// Runs body(context, task) for every task from 0 to tasks - 1, each once, in any order, on any thread. What a task writes
// must not depend on the other tasks: that is what makes results the same for any number of threads.
struct Parallel {
    void (*run)(int64_t tasks, void (*body)(void* context, int64_t task), void* context);

    template <class Body>
    void operator()(int64_t tasks, const Body& body) const {
        run(tasks, [](void* context, int64_t task) { (*static_cast<const Body*>(context))(task); },
            const_cast<void*>(static_cast<const void*>(&body)));
    }
};

}  // namespace i3d
