// What every model that computes nothing has in common.

#ifndef STRATA_TESTS_SUPPORT_FAKE_MODEL_H_
#define STRATA_TESTS_SUPPORT_FAKE_MODEL_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/model.h"

namespace strata {

// Counts nothing, and has no weights to select tokens of.
class FakeModel : public Model {
 public:
  const Head& head() const override { return head_; }
  absl::StatusOr<Head> SelectTokens(std::vector<int32_t>) override { return Head(); }
  const ModelConfig& config() const override { return config_; }
  const ModelLimits& limits() const override { return limits_; }
  int64_t row_layers() const override { return 0; }
  int64_t head_rows() const override { return 0; }
  int64_t logits_computed() const override { return 0; }
  void ResetCounters() override {}

 protected:
  ModelConfig config_;
  ModelLimits limits_;
  Head head_;
};

}  // namespace strata

#endif  // STRATA_TESTS_SUPPORT_FAKE_MODEL_H_
