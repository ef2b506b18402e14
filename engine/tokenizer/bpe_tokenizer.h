// Byte-level BPE from a tokenizer.json, as of Llama 3.

#ifndef STRATA_ENGINE_TOKENIZER_BPE_TOKENIZER_H_
#define STRATA_ENGINE_TOKENIZER_BPE_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/bpe_definition.h"
#include "engine/tokenizer/tokenizer.h"
#include "nlohmann/json.hpp"

namespace strata {

class BpeTokenizer : public Tokenizer {
 public:
  // `definition`: the contents of tokenizer.json, which errors call `source`;
  // `config`: of tokenizer_config.json, for the name of the BOS token.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const nlohmann::json& definition,
                                                           const nlohmann::json& config,
                                                           const std::string& source,
                                                           int vocab_size);

  std::vector<TokenId> Encode(std::string_view text, bool add_special_tokens) const override;
  std::string_view TokenBytes(TokenId id) const override;
  std::string_view Piece(TokenId id) const override;
  bool IsSpecial(TokenId id) const override;
  bool StripsLeadingSpace() const override { return false; }
  std::optional<TokenId> bos_token_id() const override { return bos_; }
  int vocab_size() const override { return vocab_size_; }

 private:
  BpeTokenizer(BpeDefinition definition, int vocab_size)
      : definition_(std::move(definition)), vocab_size_(vocab_size) {}

  // Null for an id that the file does not have.
  const BpeToken* Find(TokenId id) const;
  // Appends the ids of text without added tokens.
  void EncodePlain(std::string_view text, RegexScratch& scratch, std::vector<TokenId>& ids) const;
  void EncodeWord(std::string_view word, std::vector<TokenId>& ids) const;

  BpeDefinition definition_;
  std::optional<TokenId> bos_;
  int vocab_size_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_BPE_TOKENIZER_H_
