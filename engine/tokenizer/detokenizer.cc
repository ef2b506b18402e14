#include "engine/tokenizer/detokenizer.h"

#include "engine/tokenizer/utf8.h"

namespace strata {
namespace {

constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";  // U+FFFD
constexpr std::string_view kSpaceMark = "\xe2\x96\x81";             // U+2581

void AppendReplacingInvalid(std::string_view bytes, std::string* out) {
  while (!bytes.empty()) {
    const Utf8Unit unit = NextUtf8Unit(bytes);
    *out += unit.kind == Utf8Unit::Kind::kCharacter ? bytes.substr(0, unit.length)
                                                    : kReplacementCharacter;
    bytes.remove_prefix(unit.length);
  }
}

}  // namespace

size_t CompleteUtf8Prefix(std::string_view bytes) {
  // Only the last three bytes can hold the start of an unfinished character, and it starts at the
  // last byte that is no continuation.
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const size_t start = bytes.size() - back;
    if ((static_cast<uint8_t>(bytes[start]) & 0xc0) == 0x80) continue;
    const Utf8Unit unit = NextUtf8Unit(bytes.substr(start));
    return unit.kind == Utf8Unit::Kind::kUnfinished ? start : bytes.size();
  }
  return bytes.size();
}

std::string ReplaceInvalidUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  AppendReplacingInvalid(bytes, &out);
  return out;
}

bool IsValidUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const Utf8Unit unit = NextUtf8Unit(bytes);
    if (unit.kind != Utf8Unit::Kind::kCharacter) return false;
    bytes.remove_prefix(unit.length);
  }
  return true;
}

void Detokenizer::Append(TokenId id, std::string* text) {
  std::string_view bytes = tokenizer_->TokenBytes(id);
  if (bytes.empty()) return;
  // Only a written-out mark is the dummy prefix; a byte token of value 0x20 is text.
  if (strip_space_ && tokenizer_->Piece(id).starts_with(kSpaceMark)) bytes.remove_prefix(1);
  strip_space_ = false;
  if (pending_.empty()) {
    const size_t complete = CompleteUtf8Prefix(bytes);
    AppendReplacingInvalid(bytes.substr(0, complete), text);
    pending_ = bytes.substr(complete);
    return;
  }
  pending_ += bytes;
  const size_t complete = CompleteUtf8Prefix(pending_);
  AppendReplacingInvalid(std::string_view(pending_).substr(0, complete), text);
  pending_.erase(0, complete);
}

void Detokenizer::Flush(std::string* text) {
  AppendReplacingInvalid(pending_, text);
  pending_.clear();
}

}  // namespace strata
