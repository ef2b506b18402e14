// libsentencepiece behind an interface of standard types only: its header and
// Abseil's cannot meet in one translation unit.

#ifndef STRATA_ENGINE_TOKENIZER_SENTENCEPIECE_MODEL_H_
#define STRATA_ENGINE_TOKENIZER_SENTENCEPIECE_MODEL_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace strata {

// Immutable after Load; safe to use from several threads.
class SentencePieceModel {
 public:
  enum class Kind { kNormal, kByte, kUnknown, kControl, kUnused };
  struct Token {
    std::string piece;
    Kind kind = Kind::kNormal;
  };

  // Parses a serialized tokenizer.model. Null, and `error` set, if it is none.
  static std::unique_ptr<SentencePieceModel> Load(std::string_view serialized, std::string& error);
  ~SentencePieceModel();

  std::vector<int> Encode(std::string_view text) const;
  // sentencepiece's own text for `ids`.
  std::string Decode(const std::vector<int>& ids) const;
  std::vector<Token> Tokens() const;
  int bos_id() const;  // negative: none
  int eos_id() const;

 private:
  class Impl;
  explicit SentencePieceModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_SENTENCEPIECE_MODEL_H_
