#include "engine/tokenizer/byte_alphabet.h"

#include <array>

#include "engine/tokenizer/utf8.h"

namespace strata {
namespace {

constexpr uint32_t kFirstStandIn = 256;

constexpr bool StandsForItself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

// The bytes that are no printable Latin-1 characters, in order; the i-th is written as U+0100 + i.
struct StandIns {
  std::array<uint8_t, 256> byte_of{};
  std::array<uint32_t, 256> char_of{};
  uint32_t count = 0;
};

constexpr StandIns MakeStandIns() {
  StandIns table;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    table.char_of[byte] = byte;
    if (StandsForItself(byte)) continue;
    table.byte_of[table.count] = static_cast<uint8_t>(byte);
    table.char_of[byte] = kFirstStandIn + table.count++;
  }
  return table;
}

constexpr StandIns kStandIns = MakeStandIns();

}  // namespace

std::string WrittenByte(uint8_t byte) {
  std::string out;
  AppendUtf8(kStandIns.char_of[byte], out);
  return out;
}

std::optional<std::string> BytesOfPiece(std::string_view piece) {
  std::string bytes;
  while (!piece.empty()) {
    const Utf8Unit unit = NextUtf8Unit(piece);
    if (unit.kind != Utf8Unit::Kind::kCharacter) return std::nullopt;
    const uint32_t c = unit.code_point;
    if (c < 256 && StandsForItself(c)) {
      bytes.push_back(static_cast<char>(c));
    } else if (c >= kFirstStandIn && c - kFirstStandIn < kStandIns.count) {
      bytes.push_back(static_cast<char>(kStandIns.byte_of[c - kFirstStandIn]));
    } else {
      return std::nullopt;
    }
    piece.remove_prefix(unit.length);
  }
  return bytes;
}

}  // namespace strata
