// Text to token ids and back.

#ifndef STRATA_ENGINE_TOKENIZER_TOKENIZER_H_
#define STRATA_ENGINE_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace strata {

using TokenId = int32_t;

// Immutable; safe to use from several threads.
class Tokenizer {
 public:
  // Opens tokenizer.json (byte-level BPE) or tokenizer.model (sentencepiece) in
  // `folder`; where both exist, tokenizer.model.
  // Errors: NOT_FOUND if there is neither, INVALID_ARGUMENT if it is malformed, of an unsupported
  // kind, or has ids >= vocab_size.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& folder, int vocab_size);

  virtual ~Tokenizer() = default;

  // Ids of `text`, which must be valid UTF-8 (the caller checks). With
  // `add_special_tokens`, what the tokenizer's configuration puts around a
  // prompt (BOS). Special tokens written out in the text become their ids in tokenizer.json
  // checkpoints, as in Hugging Face's tokenizers.
  virtual std::vector<TokenId> Encode(std::string_view text, bool add_special_tokens) const = 0;

  // The bytes that `id` stands for inside a text: a space for sentencepiece's
  // U+2581, one byte for a byte token, nothing for a special token or for an
  // id that the vocabulary leaves unused. Only sentencepiece's unknown token,
  // special too, has the text that sentencepiece gives it (U+2047 between spaces).
  // May be part of a UTF-8 character.
  virtual std::string_view TokenBytes(TokenId id) const = 0;
  // As the vocabulary writes it, for people ("▁the", "<0x0A>", "<|eot_id|>").
  virtual std::string_view Piece(TokenId id) const = 0;
  virtual bool IsSpecial(TokenId id) const = 0;

  // True if the first token of a text loses one leading space (sentencepiece's
  // dummy prefix).
  virtual bool StripsLeadingSpace() const = 0;

  virtual std::optional<TokenId> bos_token_id() const = 0;
  virtual int vocab_size() const = 0;

  // The text of `ids`; bytes that are no valid UTF-8 become U+FFFD.
  std::string Decode(std::span<const TokenId> ids) const;
};

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_TOKENIZER_H_
