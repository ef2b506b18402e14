// Tokens without text: a simulation has no use for it.

#ifndef STRATA_BENCH_SIMULATOR_SILENT_TOKENIZER_H_
#define STRATA_BENCH_SIMULATOR_SILENT_TOKENIZER_H_

#include <optional>
#include <string_view>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace strata::sim {

class SilentTokenizer final : public Tokenizer {
 public:
  std::vector<TokenId> Encode(std::string_view, bool) const override { return {}; }
  std::string_view TokenBytes(TokenId) const override { return {}; }
  std::string_view Piece(TokenId) const override { return {}; }
  bool IsSpecial(TokenId) const override { return false; }
  bool StripsLeadingSpace() const override { return false; }
  std::optional<TokenId> bos_token_id() const override { return std::nullopt; }
  int vocab_size() const override { return 0; }
};

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_SILENT_TOKENIZER_H_
