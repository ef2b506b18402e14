// Early return for absl::Status and absl::StatusOr.

#ifndef STRATA_ENGINE_STATUS_MACROS_H_
#define STRATA_ENGINE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define STRATA_CONCAT_INNER(a, b) a##b
#define STRATA_CONCAT(a, b) STRATA_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                      \
  do {                                             \
    absl::Status strata_status = (expr);           \
    if (!strata_status.ok()) return strata_status; \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(STRATA_CONCAT(strata_status_or_, __LINE__), lhs, expr)

#define ASSIGN_OR_RETURN_IMPL(status_or, lhs, expr)          \
  auto status_or = (expr);                                   \
  if (!status_or.ok()) return std::move(status_or).status(); \
  lhs = std::move(status_or).value()

#endif  // STRATA_ENGINE_STATUS_MACROS_H_
