#include "server/authenticator.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "engine/status_macros.h"

namespace strata::server {
namespace {

constexpr char kHeader[] = "authorization";
constexpr std::string_view kScheme = "bearer ";

// The token of "Bearer TOKEN"; nullopt if it is something else.
std::optional<std::string_view> TokenOf(std::string_view header) {
  if (header.size() <= kScheme.size()) return std::nullopt;
  const bool is_bearer =
      std::equal(kScheme.begin(), kScheme.end(), header.begin(), [](char expected, char c) {
        return std::tolower(static_cast<unsigned char>(c)) == expected;
      });
  if (!is_bearer) return std::nullopt;
  return header.substr(kScheme.size());
}

absl::Status CheckExpiry(const Token& token, WallTime now) {
  if (!token.expires || now < *token.expires) return absl::OkStatus();
  return absl::UnauthenticatedError("the token has expired; ask the server's operator for another");
}

}  // namespace

Authenticator::Authenticator(Credentials credentials, const std::vector<std::string>& open_methods,
                             Now now)
    : asks_for_tokens_(true),
      open_methods_(open_methods.begin(), open_methods.end()),
      now_(std::move(now)),
      credentials_(std::make_shared<const Credentials>(std::move(credentials))) {}

std::shared_ptr<const Credentials> Authenticator::credentials() const {
  absl::MutexLock lock(&mu_);
  return credentials_;
}

void Authenticator::SetCredentials(Credentials credentials) {
  auto shared = std::make_shared<const Credentials>(std::move(credentials));
  absl::MutexLock lock(&mu_);
  credentials_ = std::move(shared);
}

bool Authenticator::IsOpen(std::string_view method) const {
  return open_methods_.contains(method) ||
         open_methods_.contains(method.substr(0, method.find('/')));
}

absl::StatusOr<Caller> Authenticator::Authenticate(const grpc::ServerContextBase& context,
                                                   std::string_view method) const {
  const auto [first, last] = context.client_metadata().equal_range(kHeader);
  std::optional<std::string_view> header;
  if (first != last && std::next(first) == last) {
    header = std::string_view(first->second.data(), first->second.size());
  }
  return Authenticate(header, method);
}

absl::StatusOr<Caller> Authenticator::Authenticate(std::optional<std::string_view> header,
                                                   std::string_view method) const {
  if (!asks_for_tokens_) return Caller();
  absl::StatusOr<Caller> caller = FindCaller(header);
  if (!caller.ok() && IsOpen(method)) return Caller();
  return caller;
}

absl::StatusOr<Caller> Authenticator::FindCaller(std::optional<std::string_view> header) const {
  const std::optional<std::string_view> text = header ? TokenOf(*header) : std::nullopt;
  if (!text) {
    return absl::UnauthenticatedError(
        "this server asks for a token: send it as metadata, 'authorization: Bearer TOKEN' "
        "(strata: --token-file)");
  }
  const std::shared_ptr<const Credentials> credentials = this->credentials();
  const Token* token = credentials->Find(HashToken(*text));
  if (token == nullptr) {
    return absl::UnauthenticatedError(
        "this server does not know the token; it may have been revoked");
  }
  RETURN_IF_ERROR(CheckExpiry(*token, now_()));
  return Caller(*token);
}

absl::Status Authenticator::Recheck(const Caller& caller) const {
  if (caller.token() == nullptr) return absl::OkStatus();
  const std::shared_ptr<const Credentials> credentials = this->credentials();
  const Token* token = credentials->FindKnown(caller.token()->hash);
  if (token == nullptr) return absl::UnauthenticatedError("the token has been revoked");
  return CheckExpiry(*token, now_());
}

}  // namespace strata::server
