// Cuts a text into the words that byte-pair encoding never merges across:
// tokenizer.json's "pre_tokenizer".

#ifndef STRATA_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
#define STRATA_ENGINE_TOKENIZER_PRE_TOKENIZER_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/regex.h"
#include "nlohmann/json.hpp"

namespace strata {

// Immutable after Create; safe to use from several threads, each with its own scratch.
class PreTokenizer {
 public:
  // Understands ByteLevel (without a prefix space), Split (isolated or removed), Digits, and
  // Sequences of them; there must be a ByteLevel. INVALID_ARGUMENT names `source` and the rest.
  static absl::StatusOr<PreTokenizer> Create(const nlohmann::json& definition,
                                             const std::string& source);

  // The words of `text`, in order, as views of it. REQUIRES: valid UTF-8.
  std::vector<std::string_view> Split(std::string_view text, RegexScratch& scratch) const;

 private:
  // What becomes of the matches of a step's pattern and of the text between them.
  struct Step {
    Regex regex;
    bool keep_matches = true;
    bool keep_others = true;
  };

  PreTokenizer() = default;
  absl::Status AddSteps(const nlohmann::json& definition, const std::string& source);
  absl::Status AddByteLevel(const nlohmann::json& definition, const std::string& source);
  absl::Status AddSplit(const nlohmann::json& definition, const std::string& source);
  absl::Status AddDigits(const nlohmann::json& definition, const std::string& source);

  std::vector<Step> steps_;
  bool has_byte_level_ = false;
};

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
