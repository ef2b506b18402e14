// Tells systemd how this process does (sd_notify(3)): a datagram to the socket that the environment
// names, which is all of the protocol, and needs no library.

#ifndef STRATA_SERVER_SERVICE_MANAGER_H_
#define STRATA_SERVER_SERVICE_MANAGER_H_

#include <chrono>
#include <string>

#include "server/options.h"

namespace strata::server {

// Thread-safe.
class ServiceManager {
 public:
  // Nobody listens if the environment has no NOTIFY_SOCKET.
  explicit ServiceManager(const GetEnv& get_env);

  // E.g. "READY=1". Failures are of no consequence here, and ignored.
  void Notify(const std::string& state) const;

  // Whether "WATCHDOG=1" is expected now and then.
  bool wants_pings() const { return wants_pings_; }

 private:
  std::string socket_;  // empty: nobody listens
  bool wants_pings_ = false;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_SERVICE_MANAGER_H_
