// The alphabet of byte-level vocabularies: each byte is written as one
// printable character (GPT-2's bytes_to_unicode).

#ifndef STRATA_ENGINE_TOKENIZER_BYTE_ALPHABET_H_
#define STRATA_ENGINE_TOKENIZER_BYTE_ALPHABET_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace strata {

// The character that stands for `byte`, in UTF-8.
std::string WrittenByte(uint8_t byte);

// The bytes that `piece` stands for; nullopt if it has a character outside the alphabet.
std::optional<std::string> BytesOfPiece(std::string_view piece);

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_BYTE_ALPHABET_H_
