// How often each token occurs in some text, as a file says.

#ifndef STRATA_ENGINE_TOKEN_COUNT_FILE_H_
#define STRATA_ENGINE_TOKEN_COUNT_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace strata {

// Reads lines of a token id and its count, whole numbers separated by spaces or tabs. Tokens
// without a line have a count of 0, empty lines have no meaning.
// Returns the counts by token id [vocab_size].
// Errors: NOT_FOUND, or INVALID_ARGUMENT, which names file and line.
absl::StatusOr<std::vector<double>> ReadTokenCounts(const std::string& path, int vocab_size);

}  // namespace strata

#endif  // STRATA_ENGINE_TOKEN_COUNT_FILE_H_
