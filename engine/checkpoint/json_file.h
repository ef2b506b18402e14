// JSON from files that nobody vouches for.

#ifndef STRATA_ENGINE_CHECKPOINT_JSON_FILE_H_
#define STRATA_ENGINE_CHECKPOINT_JSON_FILE_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace strata {

inline constexpr size_t kMaxJsonDepth = 32;
// The largest tokenizer.json of a known model has about a million values.
inline constexpr size_t kMaxJsonValues = 8 << 20;
inline constexpr size_t kMaxJsonFileBytes = 100'000'000;

// Parses `text`, whose outermost value must be an object. `source` names it in
// errors (INVALID_ARGUMENT): malformed, nested deeper than kMaxJsonDepth, more
// than kMaxJsonValues values, or a key twice in one object (readers disagree on
// which one counts). Never throws.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, std::string_view source);

// The bytes of a regular file. NOT_FOUND, or INVALID_ARGUMENT if it is no
// regular file or has more than `max_bytes`.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t max_bytes);

absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path);

// Whether there is anything of that name.
bool FileExists(const std::string& path);

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_JSON_FILE_H_
