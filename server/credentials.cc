#include "server/credentials.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>

#include "engine/checkpoint/json_file.h"
#include "engine/status_macros.h"

namespace strata::server {
namespace {

constexpr size_t kMaxFileBytes = 16 << 20;
constexpr size_t kMaxNameBytes = 64;

// Where something stands, for messages: "credentials.toml:12".
std::string Place(const std::string& path, const toml::node& node) {
  return fmt::format("{}:{}", path, node.source().begin.line);
}

absl::Status Error(const std::string& path, const toml::node& node, const std::string& problem) {
  return absl::InvalidArgumentError(fmt::format("{}: {}", Place(path, node), problem));
}

// Names become labels of metrics, and words of log lines.
bool IsName(std::string_view text) {
  if (text.empty() || text.size() > kMaxNameBytes) return false;
  for (const char c : text) {
    const bool allowed =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
    if (!allowed) return false;
  }
  return true;
}

std::optional<TokenHash> ParseHash(std::string_view text) {
  TokenHash hash{};
  if (text.size() != 2 * hash.size()) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = static_cast<char>(std::tolower(static_cast<unsigned char>(text[i])));
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return std::nullopt;
    const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
    hash[i / 2] = static_cast<uint8_t>(hash[i / 2] << 4 | digit);
  }
  return hash;
}

WallTime StartOfDay(const toml::date& date) {
  return std::chrono::sys_days(std::chrono::year(date.year) / date.month / date.day);
}

// A day counts to its end, in UTC. A time has to say its offset: this machine's zone is nobody's
// business.
std::optional<WallTime> ParseExpiry(const toml::node& node) {
  using namespace std::chrono;  // NOLINT: units
  if (const auto* date = node.as_date()) return StartOfDay(date->get()) + days(1);
  const auto* value = node.as_date_time();
  if (value == nullptr || !value->get().offset) return std::nullopt;
  const toml::date_time& time = value->get();
  return StartOfDay(time.date) + hours(time.time.hour) + minutes(time.time.minute) +
         seconds(time.time.second) - minutes(time.offset->minutes);
}

class Parser {
 public:
  Parser(const std::string& path, const Tenant& defaults) : path_(path), defaults_(defaults) {}

  absl::StatusOr<std::vector<Token>> Parse(const toml::table& file) {
    RETURN_IF_ERROR(OnlyKeys(file, {"tenant"}));
    ASSIGN_OR_RETURN(const std::vector<const toml::table*> accounts, Tables(file, "tenant"));
    for (const toml::table* account : accounts) RETURN_IF_ERROR(AddAccount(*account));
    return std::move(tokens_);
  }

 private:
  absl::Status OnlyKeys(const toml::table& table, const std::set<std::string_view>& known) const {
    for (const auto& [key, node] : table) {
      if (known.contains(key.str())) continue;
      return Error(path_, node, fmt::format("no such key: {}", std::string(key.str())));
    }
    return absl::OkStatus();
  }

  // All of "[[key]]"; none if it is absent.
  absl::StatusOr<std::vector<const toml::table*>> Tables(const toml::table& table,
                                                         std::string_view key) const {
    std::vector<const toml::table*> tables;
    const toml::node* node = table.get(key);
    if (node == nullptr) return tables;
    const auto wrong = [&] {
      return Error(path_, *node, fmt::format("write [[{}]]", std::string(key)));
    };
    if (!node->is_array()) return wrong();
    for (const toml::node& element : *node->as_array()) {
      if (!element.is_table()) return wrong();
      tables.push_back(element.as_table());
    }
    return tables;
  }

  absl::StatusOr<std::string> Name(const toml::table& table) const {
    const auto name = table["name"].value_exact<std::string>();
    if (name && IsName(*name)) return *name;
    return Error(
        path_, table,
        fmt::format("name: 1 to {} letters, digits, '-', '_' and '.' are required", kMaxNameBytes));
  }

  // Sets `*value` where `table` has `key`.
  template <typename Value>
  absl::Status Read(const toml::table& table, std::string_view key, Value min, Value max,
                    Value* value) const {
    const toml::node* node = table.get(key);
    if (node == nullptr) return absl::OkStatus();
    // Whole numbers are fine where any are.
    const auto given = node->value<Value>();
    if (!node->is_number() || !given || !(*given >= min && *given <= max)) {
      return Error(path_, *node,
                   fmt::format("{}: must be a number in [{}, {}]", std::string(key), min, max));
    }
    *value = *given;
    return absl::OkStatus();
  }

  absl::Status Read(const toml::table& table, std::string_view key, bool* value) const {
    const toml::node* node = table.get(key);
    if (node == nullptr) return absl::OkStatus();
    if (!node->is_boolean()) {
      return Error(path_, *node, fmt::format("{}: must be true or false", std::string(key)));
    }
    *value = node->as_boolean()->get();
    return absl::OkStatus();
  }

  absl::Status ReadTenant(const toml::table& table, Tenant* tenant) const {
    constexpr int kMany = 1'000'000;
    constexpr int64_t kManyTokens = 1'000'000'000'000;
    RETURN_IF_ERROR(Read(table, "weight", kMinTenantWeight, kMaxTenantWeight, &tenant->weight));
    RETURN_IF_ERROR(Read(table, "priority", kMinPriority, kMaxPriority, &tenant->priority));
    RETURN_IF_ERROR(Read(table, "max_running", 0, kMany, &tenant->max_running));
    RETURN_IF_ERROR(Read(table, "max_queued", 0, kMany, &tenant->max_queued));
    RETURN_IF_ERROR(Read(table, "max_tokens_per_minute", int64_t{0}, kManyTokens,
                         &tenant->max_tokens_per_minute));
    return Read(table, "isolates_prefixes", &tenant->isolates_prefixes);
  }

  absl::Status AddAccount(const toml::table& table) {
    RETURN_IF_ERROR(OnlyKeys(
        table, {"name", "noncommercial_use_acknowledged", "weight", "priority", "max_running",
                "max_queued", "max_tokens_per_minute", "isolates_prefixes", "token"}));
    auto account = std::make_shared<Account>();
    account->tenant = defaults_;
    std::string& name = account->tenant.name;
    ASSIGN_OR_RETURN(name, Name(table));
    if (!account_names_.insert(name).second) {
      return Error(path_, table, fmt::format("there is a tenant '{}' already", name));
    }
    RETURN_IF_ERROR(
        Read(table, "noncommercial_use_acknowledged", &account->noncommercial_use_acknowledged));
    RETURN_IF_ERROR(ReadTenant(table, &account->tenant));
    ASSIGN_OR_RETURN(const std::vector<const toml::table*> tokens, Tables(table, "token"));
    std::set<std::string> names;
    for (const toml::table* token : tokens) RETURN_IF_ERROR(AddToken(*token, account, &names));
    return absl::OkStatus();
  }

  absl::Status AddToken(const toml::table& table, const std::shared_ptr<const Account>& account,
                        std::set<std::string>* names) {
    RETURN_IF_ERROR(OnlyKeys(table, {"name", "sha256", "expires"}));
    Token token;
    token.account = account;
    ASSIGN_OR_RETURN(token.name, Name(table));
    if (!names->insert(token.name).second) {
      return Error(
          path_, table,
          fmt::format("tenant '{}' has a token '{}' already", account->tenant.name, token.name));
    }
    const auto hash = ParseHash(table["sha256"].value_exact<std::string>().value_or(""));
    if (!hash) return Error(path_, table, "sha256: 64 hexadecimal digits are required");
    token.hash = *hash;
    if (!hashes_.insert(token.hash).second) {
      return Error(path_, table, "sha256: another token has the same");
    }
    if (const toml::node* node = table.get("expires")) {
      token.expires = ParseExpiry(*node);
      if (!token.expires) {
        return Error(path_, *node, "expires: write 2027-06-30 or 2027-06-30T12:00:00Z");
      }
    }
    tokens_.push_back(std::move(token));
    return absl::OkStatus();
  }

  const std::string& path_;
  const Tenant& defaults_;
  std::vector<Token> tokens_;
  std::set<std::string> account_names_;
  std::set<TokenHash> hashes_;
};

}  // namespace

TokenHash HashToken(std::string_view token) {
  TokenHash hash{};
  SHA256(reinterpret_cast<const uint8_t*>(token.data()), token.size(), hash.data());
  return hash;
}

absl::StatusOr<Credentials> Credentials::Parse(const std::string& text, const std::string& path,
                                               const Tenant& defaults) {
  toml::table file;
  try {
    file = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(fmt::format("{}:{}: {}", path, error.source().begin.line,
                                                  std::string(error.description())));
  }
  Credentials credentials;
  ASSIGN_OR_RETURN(credentials.tokens_, Parser(path, defaults).Parse(file));
  std::sort(credentials.tokens_.begin(), credentials.tokens_.end(),
            [](const Token& a, const Token& b) { return a.hash < b.hash; });
  return credentials;
}

absl::StatusOr<Credentials> Credentials::Read(const std::string& path, const Tenant& defaults) {
  ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxFileBytes));
  return Parse(text, path, defaults);
}

const Token* Credentials::Find(const TokenHash& hash) const {
  const Token* found = nullptr;
  for (const Token& token : tokens_) {
    // All are compared, and each to its end.
    if (CRYPTO_memcmp(token.hash.data(), hash.data(), hash.size()) == 0) found = &token;
  }
  return found;
}

const Token* Credentials::FindKnown(const TokenHash& hash) const {
  const auto token =
      std::lower_bound(tokens_.begin(), tokens_.end(), hash,
                       [](const Token& a, const TokenHash& b) { return a.hash < b; });
  return token != tokens_.end() && token->hash == hash ? &*token : nullptr;
}

}  // namespace strata::server
