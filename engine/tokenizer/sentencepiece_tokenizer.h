// A sentencepiece tokenizer.model, as of Llama 2 and Code Llama.

#ifndef STRATA_ENGINE_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_
#define STRATA_ENGINE_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/sentencepiece_model.h"
#include "engine/tokenizer/tokenizer.h"

namespace strata {

class SentencePieceTokenizer : public Tokenizer {
 public:
  struct Options {
    // What tokenizer_config.json asks for around a prompt.
    bool add_bos = true;
    bool add_eos = false;
  };

  // `path` names the file in errors; `vocab_size` is the model's, which may be larger than the
  // file's (ids in between are unused).
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& path, int vocab_size,
                                                         const Options& options);

  std::vector<TokenId> Encode(std::string_view text, bool add_special_tokens) const override;
  std::string_view TokenBytes(TokenId id) const override;
  std::string_view Piece(TokenId id) const override;
  bool IsSpecial(TokenId id) const override;
  bool StripsLeadingSpace() const override { return strips_leading_space_; }
  std::optional<TokenId> bos_token_id() const override { return bos_; }
  int vocab_size() const override { return vocab_size_; }

 private:
  struct Token {
    std::string piece;
    std::string bytes;
    bool is_special = false;
  };

  SentencePieceTokenizer() = default;
  // Null for an id that the file does not have.
  const Token* Find(TokenId id) const;
  Token MakeToken(TokenId id, const SentencePieceModel::Token& source) const;
  bool DropsDummyPrefix() const;

  std::unique_ptr<SentencePieceModel> model_;
  std::vector<Token> tokens_;
  std::optional<TokenId> bos_;
  std::optional<TokenId> eos_;
  Options options_;
  bool strips_leading_space_ = false;
  int vocab_size_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_
