#include "engine/tokenizer/utf8.h"

namespace strata {
namespace {

// Table 3-7: how long the character is that a lead byte starts, and what its
// second byte may be. The bounds exclude overlong forms, surrogates and > U+10FFFF.
struct Lead {
  size_t length;  // 0: no character starts so
  uint8_t second_min;
  uint8_t second_max;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xc2) return {0, 0, 0};
  if (byte < 0xe0) return {2, 0x80, 0xbf};
  if (byte == 0xe0) return {3, 0xa0, 0xbf};
  if (byte == 0xed) return {3, 0x80, 0x9f};
  if (byte < 0xf0) return {3, 0x80, 0xbf};
  if (byte == 0xf0) return {4, 0x90, 0xbf};
  if (byte < 0xf4) return {4, 0x80, 0xbf};
  if (byte == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

}  // namespace

Utf8Unit NextUtf8Unit(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const Lead lead = LeadOf(at(0));
  if (lead.length == 0) return {Utf8Unit::Kind::kInvalid, 1, 0};
  if (lead.length == 1) return {Utf8Unit::Kind::kCharacter, 1, at(0)};
  uint32_t code_point = at(0) & (0xffu >> (lead.length + 1));
  for (size_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {Utf8Unit::Kind::kUnfinished, i, 0};
    const uint8_t min = i == 1 ? lead.second_min : 0x80;
    const uint8_t max = i == 1 ? lead.second_max : 0xbf;
    if (at(i) < min || at(i) > max) return {Utf8Unit::Kind::kInvalid, i, 0};
    code_point = code_point << 6 | (at(i) & 0x3fu);
  }
  return {Utf8Unit::Kind::kCharacter, lead.length, code_point};
}

void AppendUtf8(uint32_t code_point, std::string& out) {
  const auto push = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    push(code_point);
    return;
  }
  if (code_point < 0x800) {
    push(0xc0 | code_point >> 6);
  } else {
    if (code_point < 0x10000) {
      push(0xe0 | code_point >> 12);
    } else {
      push(0xf0 | code_point >> 18);
      push(0x80 | (code_point >> 12 & 0x3f));
    }
    push(0x80 | (code_point >> 6 & 0x3f));
  }
  push(0x80 | (code_point & 0x3f));
}

}  // namespace strata
