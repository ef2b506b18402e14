#include "engine/tokenizer/sentencepiece_tokenizer.h"

#include <charconv>
#include <utility>

#include "engine/checkpoint/json_file.h"
#include "engine/checkpoint/printable.h"
#include "engine/status_macros.h"
#include "fmt/format.h"

namespace strata {
namespace {

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581
constexpr size_t kMaxModelBytes = 64 << 20;

std::string WithSpaces(std::string_view piece) {
  std::string out;
  while (!piece.empty()) {
    if (piece.starts_with(kSpaceMark)) {
      out.push_back(' ');
      piece.remove_prefix(kSpaceMark.size());
    } else {
      out.push_back(piece.front());
      piece.remove_prefix(1);
    }
  }
  return out;
}

// "<0x0A>" as one byte.
std::string ByteOf(std::string_view piece) {
  unsigned value = 0;
  if (piece.size() == 6) std::from_chars(piece.data() + 3, piece.data() + 5, value, 16);
  return std::string(1, static_cast<char>(value));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizer::Open(const std::string& path,
                                                                        int vocab_size,
                                                                        const Options& options) {
  ASSIGN_OR_RETURN(const std::string serialized, ReadWholeFile(path, kMaxModelBytes));
  std::string error;
  std::unique_ptr<SentencePieceTokenizer> tokenizer(new SentencePieceTokenizer);
  tokenizer->model_ = SentencePieceModel::Load(serialized, error);
  if (tokenizer->model_ == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("{}: not a sentencepiece model ({}); download it again, or remove it if a "
                    "tokenizer.json beside it is the model's tokenizer",
                    path, Printable(error)));
  }
  const std::vector<SentencePieceModel::Token> tokens = tokenizer->model_->Tokens();
  if (tokens.size() > static_cast<size_t>(vocab_size)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: has {} tokens, more than the model's vocab_size of {}; it belongs to "
                    "another checkpoint",
                    path, tokens.size(), vocab_size));
  }
  for (const SentencePieceModel::Token& token : tokens) {
    const auto id = static_cast<TokenId>(tokenizer->tokens_.size());
    tokenizer->tokens_.push_back(tokenizer->MakeToken(id, token));
  }
  if (const int bos = tokenizer->model_->bos_id(); bos >= 0) tokenizer->bos_ = bos;
  if (const int eos = tokenizer->model_->eos_id(); eos >= 0) tokenizer->eos_ = eos;
  tokenizer->options_ = options;
  tokenizer->vocab_size_ = vocab_size;
  tokenizer->strips_leading_space_ = tokenizer->DropsDummyPrefix();
  return tokenizer;
}

SentencePieceTokenizer::Token SentencePieceTokenizer::MakeToken(
    TokenId id, const SentencePieceModel::Token& source) const {
  Token token{source.piece, "", false};
  switch (source.kind) {
    case SentencePieceModel::Kind::kNormal:
      token.bytes = WithSpaces(source.piece);
      break;
    case SentencePieceModel::Kind::kByte:
      token.bytes = ByteOf(source.piece);
      break;
    case SentencePieceModel::Kind::kUnknown:
      // The model's own surface of what it could not write, usually U+2047 between spaces.
      token.bytes = model_->Decode({id});
      token.is_special = true;
      break;
    case SentencePieceModel::Kind::kControl:
    case SentencePieceModel::Kind::kUnused:
      token.is_special = source.kind == SentencePieceModel::Kind::kControl;
      break;
  }
  return token;
}

// The model file says it (normalizer_spec.add_dummy_prefix), but the library does not show that
// part; decoding a token that starts with a space does.
bool SentencePieceTokenizer::DropsDummyPrefix() const {
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (!tokens_[id].bytes.empty() && tokens_[id].piece.starts_with(kSpaceMark)) {
      return model_->Decode({static_cast<TokenId>(id)}).size() < tokens_[id].bytes.size();
    }
  }
  return false;
}

std::vector<TokenId> SentencePieceTokenizer::Encode(std::string_view text,
                                                    bool add_special_tokens) const {
  std::vector<TokenId> ids = model_->Encode(text);
  if (add_special_tokens && options_.add_bos && bos_) ids.insert(ids.begin(), *bos_);
  if (add_special_tokens && options_.add_eos && eos_) ids.push_back(*eos_);
  return ids;
}

const SentencePieceTokenizer::Token* SentencePieceTokenizer::Find(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= tokens_.size()) return nullptr;
  return &tokens_[id];
}

std::string_view SentencePieceTokenizer::TokenBytes(TokenId id) const {
  const Token* token = Find(id);
  return token == nullptr ? std::string_view() : token->bytes;
}

std::string_view SentencePieceTokenizer::Piece(TokenId id) const {
  const Token* token = Find(id);
  return token == nullptr ? std::string_view() : token->piece;
}

bool SentencePieceTokenizer::IsSpecial(TokenId id) const {
  const Token* token = Find(id);
  return token != nullptr && token->is_special;
}

}  // namespace strata
