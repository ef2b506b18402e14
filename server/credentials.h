// Who may call: tenants and the tokens that stand for them, from a TOML file.
//
//   [[tenant]]
//   name = "vision-group"                   # for logs, metrics and the audit log
//   noncommercial_use_acknowledged = true   # false
//   weight = 2.0                            # 1
//   priority = 0                            # and limits, if not those of the options:
//   max_running = 8
//   max_queued = 100
//   max_tokens_per_minute = 100000
//   isolates_prefixes = true                # false
//   [[tenant.token]]
//   name = "alice"
//   sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//   expires = 2027-06-30                    # optional; the end of that day, UTC, or a time
//
// A token is 32 random bytes or more, however they are spelled. So there is nothing to guess from a
// hash, however fast it is computed, and SHA-256 is as good as a password hash is for passwords.

#ifndef STRATA_SERVER_CREDENTIALS_H_
#define STRATA_SERVER_CREDENTIALS_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tenant.h"

namespace strata::server {

using WallTime = std::chrono::system_clock::time_point;
using TokenHash = std::array<uint8_t, 32>;

TokenHash HashToken(std::string_view token);

struct Account {
  Tenant tenant;
  bool noncommercial_use_acknowledged = false;
};

struct Token {
  std::string name;  // unique within its account
  TokenHash hash{};
  std::optional<WallTime> expires;
  std::shared_ptr<const Account> account;
};

// Immutable.
class Credentials {
 public:
  // `path` is for messages. Errors (INVALID_ARGUMENT) name the line or the key. Unknown keys are
  // errors, too: a misspelled "expires" would be a token for ever.
  // `defaults` holds for tenants of which the file does not say otherwise.
  static absl::StatusOr<Credentials> Parse(const std::string& text, const std::string& path,
                                           const Tenant& defaults = {});
  // Also: NOT_FOUND.
  static absl::StatusOr<Credentials> Read(const std::string& path, const Tenant& defaults);

  // Null if there is none. Takes the same time whichever it is, and if there is none.
  const Token* Find(const TokenHash& hash) const;
  // The same, quickly, of a hash that is no guess.
  const Token* FindKnown(const TokenHash& hash) const;
  const std::vector<Token>& tokens() const { return tokens_; }

 private:
  std::vector<Token> tokens_;  // by ascending hash
};

}  // namespace strata::server

#endif  // STRATA_SERVER_CREDENTIALS_H_
