// The oracle: every operation as a plain scalar loop in f32, written to be
// read. Weights and KV are held in f32 whatever the checkpoint's type; sums run
// in f64 and are rounded to f32 once.

#ifndef STRATA_KERNELS_REFERENCE_REFERENCE_BACKEND_H_
#define STRATA_KERNELS_REFERENCE_REFERENCE_BACKEND_H_

#include <memory>

#include "kernels/backend.h"

namespace strata::kernels {

std::unique_ptr<Backend> CreateReferenceBackend();

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_REFERENCE_REFERENCE_BACKEND_H_
