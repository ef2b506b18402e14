// Tells who calls, by the token in the call's metadata: "authorization: Bearer TOKEN".

#ifndef STRATA_SERVER_AUTHENTICATOR_H_
#define STRATA_SERVER_AUTHENTICATOR_H_

#include <grpcpp/server_context.h>

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/caller.h"
#include "server/credentials.h"

namespace strata::server {

// Thread-safe.
class Authenticator {
 public:
  using Now = std::function<WallTime()>;

  // Everybody may call everything.
  Authenticator() = default;
  // `open_methods`: "SERVICE" or "SERVICE/METHOD", which anybody may call.
  Authenticator(Credentials credentials, const std::vector<std::string>& open_methods,
                Now now = std::chrono::system_clock::now);

  bool asks_for_tokens() const { return asks_for_tokens_; }

  // `method`: "SERVICE/METHOD". Errors: UNAUTHENTICATED, with what to do. A method that is open
  // takes a token, too: it says who calls. One that is of no use is ignored there.
  absl::StatusOr<Caller> Authenticate(const grpc::ServerContextBase& context,
                                      std::string_view method) const;
  // The same for the value of the header; absent: there is none, or several.
  absl::StatusOr<Caller> Authenticate(std::optional<std::string_view> header,
                                      std::string_view method) const;

  // Whether somebody who was let in would be let in still. UNAUTHENTICATED if not.
  absl::Status Recheck(const Caller& caller) const;

  // From now on. Those let in before are not asked again: see Recheck.
  void SetCredentials(Credentials credentials);

 private:
  std::shared_ptr<const Credentials> credentials() const;
  bool IsOpen(std::string_view method) const;
  absl::StatusOr<Caller> FindCaller(std::optional<std::string_view> header) const;

  const bool asks_for_tokens_ = false;
  const std::set<std::string, std::less<>> open_methods_{};
  const Now now_;
  mutable absl::Mutex mu_;
  std::shared_ptr<const Credentials> credentials_ ABSL_GUARDED_BY(mu_);
};

}  // namespace strata::server

#endif  // STRATA_SERVER_AUTHENTICATOR_H_
