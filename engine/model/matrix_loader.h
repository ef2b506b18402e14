// Brings the model's matrices from a checkpoint, packed or not, to a backend.

#ifndef STRATA_ENGINE_MODEL_MATRIX_LOADER_H_
#define STRATA_ENGINE_MODEL_MATRIX_LOADER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_tensors.h"
#include "kernels/backend.h"

namespace strata {

// A view of some of its rows.
kernels::HostMatrix RowsOf(const kernels::HostMatrix& m, IndexRange rows);

class MatrixLoader {
 public:
  // Both must outlive the loader.
  // Errors: FAILED_PRECONDITION if the checkpoint is packed, and not for this backend.
  static absl::StatusOr<MatrixLoader> Create(const Checkpoint& checkpoint,
                                             kernels::Backend& backend);

  // Reads the parts' rows, and of a part with fewer columns than its tensor these. What reading has
  // taken of memory is given back.
  // Errors: INVALID_ARGUMENT if the packed bytes are too few, too many or cannot be read. Throws
  // what the backend throws.
  absl::StatusOr<std::unique_ptr<kernels::Matrix>> Load(const MatrixSpec& matrix) const;

 private:
  MatrixLoader(const Checkpoint& checkpoint, kernels::Backend& backend)
      : checkpoint_(checkpoint), backend_(backend) {}
  absl::StatusOr<std::unique_ptr<kernels::Matrix>> LoadPacked(const MatrixSpec& matrix) const;

  const Checkpoint& checkpoint_;
  kernels::Backend& backend_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_MODEL_MATRIX_LOADER_H_
