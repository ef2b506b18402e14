// A backend that computes nothing: what a round then takes is the engine's own
// time.

#ifndef STRATA_BENCH_NULL_BACKEND_H_
#define STRATA_BENCH_NULL_BACKEND_H_

#include <memory>

#include "kernels/backend.h"

namespace strata::bench {

// Every row has the same logits, noise over the vocabulary, so that greedy drafts are all accepted.
// Once it has returned as many logits it allocates no memory.
std::unique_ptr<kernels::Backend> CreateNullBackend();

}  // namespace strata::bench

#endif  // STRATA_BENCH_NULL_BACKEND_H_
