// What the services share: the engine, and how this server reads requests.

#ifndef STRATA_SERVER_SERVING_H_
#define STRATA_SERVER_SERVING_H_

#include <grpcpp/server_context.h>

#include <string>

#include "engine/engine.h"
#include "server/access_control.h"
#include "server/call_tracker.h"
#include "server/options.h"
#include "server/request_defaults.h"
#include "server/request_ids.h"
#include "server/tenant_metrics.h"
#include "server/write_thread.h"

namespace strata::server {

// Constant after construction but for what the pointers point to, which is thread-safe. Outlives
// every call.
struct Serving {
  Engine* engine;
  RequestDefaults defaults;
  RequestLimits limits;
  TenancyOptions tenancy;
  CallTracker* calls;
  RequestIds* request_ids;
  AccessControl* access;
  TenantMetrics* tenant_metrics;
  WriteThread* writes;
  bool log_prompts;
};

// The call's deadline on the engine's clock; absent if it has none.
std::optional<Instant> DeadlineOf(const grpc::ServerContextBase& context);

// Puts the licence's id, if any, into the call's initial metadata.
void AddLicenseMetadata(const Serving& serving, grpc::ServerContextBase* context);

}  // namespace strata::server

#endif  // STRATA_SERVER_SERVING_H_
