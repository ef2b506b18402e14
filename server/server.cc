#include "server/server.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "engine/checkpoint/packed_file.h"
#include "engine/status_macros.h"
#include "server/connection_limits.h"
#include "server/load_metrics.h"
#include "server/malformed_request.h"
#include "server/model_info.h"
#include "server/reflection.h"

namespace strata::server {
namespace {

// How long an ended call has to get its last bytes out.
constexpr std::chrono::milliseconds kGoodbye{500};
constexpr std::chrono::milliseconds kHurryInterval{100};
constexpr std::chrono::milliseconds kAccessPollInterval{1000};

}  // namespace

absl::StatusOr<std::unique_ptr<StrataServer>> StrataServer::Start(const Options& options,
                                                                  AccessControl* access,
                                                                  Engine* engine,
                                                                  ServerMetrics* metrics,
                                                                  Hooks hooks) {
  std::unique_ptr<StrataServer> server(
      new StrataServer(options, access, engine, metrics, std::move(hooks)));
  RETURN_IF_ERROR(server->OpenMetrics(options));
  RETURN_IF_ERROR(server->OpenGrpc(options));
  server->health_.Set(HealthService::kReady, true);
  server->StartWatching(options.watchdog);
  return server;
}

StrataServer::StrataServer(const Options& options, AccessControl* access, Engine* engine,
                           ServerMetrics* metrics, Hooks hooks)
    : access_(access),
      engine_(engine),
      metrics_(metrics),
      hooks_(std::move(hooks)),
      calls_(options.max_calls, metrics),
      writes_(options.stream_interval),
      serving_{engine,
               MakeRequestDefaults(engine->checkpoint().generation_defaults(), options,
                                   engine->default_fixed_speculation()),
               MakeRequestLimits(*engine),
               options.tenancy,
               &calls_,
               &request_ids_,
               access,
               &metrics->tenants(),
               &writes_,
               options.log_prompts},
      inference_(&serving_),
      control_(&serving_, MakeModelInfo(serving_, options.weights.value_or(
                                                      DefaultWeightFormat(engine->checkpoint())))),
      health_({v1::Inference::service_full_name(), v1::Control::service_full_name()}, access),
      orca_(
          [engine, max_sequences = options.engine.max_sequences] {
            return MakeLoadReport(engine->GetLoad(), max_sequences);
          },
          access) {
  metrics->SetBuildInfo(engine->checkpoint().config().name, engine->backend_description());
}

StrataServer::~StrataServer() {
  Drain(std::chrono::steady_clock::now(), [] { return true; });
}

absl::Status StrataServer::OpenMetrics(const Options& options) {
  if (!options.metrics_listen) return absl::OkStatus();
  auto load = std::make_shared<LoadMetrics>([engine = engine_] { return engine->GetLoad(); });
  ASSIGN_OR_RETURN(
      metrics_endpoint_,
      MetricsEndpoint::Open(*options.metrics_listen, {metrics_->registry(), std::move(load)}));
  metrics_address_ = HostPort{options.metrics_listen->host, metrics_endpoint_->port()}.ToString();
  return absl::OkStatus();
}

void StrataServer::RegisterServices(const AccessOptions& options, grpc::ServerBuilder* builder) {
  std::set<std::string, std::less<>> names;
  const auto add = [&](grpc::Service* service, const char* name) {
    builder->RegisterService(service);
    names.insert(name);
  };
  add(&inference_, v1::Inference::service_full_name());
  if (options.control) add(&control_, v1::Control::service_full_name());
  add(&health_, grpc::health::v1::Health::service_full_name());
  add(&orca_, xds::service::orca::v3::OpenRcaService::service_full_name());
  AnswerMalformedRequests(std::move(names), builder);
  if (!options.reflection.value_or(options.credentials.empty())) TurnOffReflection(builder);
}

absl::Status StrataServer::OpenGrpc(const Options& options) {
  grpc::ServerBuilder builder;
  int port = 0;
  credentials_ = access_->tls() == nullptr ? grpc::InsecureServerCredentials()
                                           : MakeTlsCredentials(access_->tls());
  builder.AddListeningPort(options.listen.ToString(), credentials_, &port);
  LimitConnections(options.connection, &builder);
  RegisterServices(options.access, &builder);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return absl::UnavailableError(fmt::format(
        "--listen: cannot listen on {}: the port is taken or the address is not this machine's",
        options.listen.ToString()));
  }
  grpc_address_ = HostPort{options.listen.host, port}.ToString();
  return absl::OkStatus();
}

void StrataServer::StartWatching(const WatchdogOptions& options) {
  const bool watches = options.timeout.count() > 0;
  access_poll_ = std::make_unique<PeriodicTask>(kAccessPollInterval, [this, watches] {
    access_->Poll();
    if (!watches && hooks_.on_alive) hooks_.on_alive();
  });
  if (!watches) return;
  watchdog_ = std::make_unique<Watchdog>(
      options.timeout,
      [engine = engine_] {
        const EngineCounters counters = engine->GetCounters();
        return EngineProgress{counters.steps_begun > counters.steps_ended, counters.steps_ended};
      },
      [this, exit = options.exit](bool stuck) { OnLook(stuck, exit); });
}

void StrataServer::OnLook(bool stuck, bool exit) {
  if (!stuck && hooks_.on_alive) hooks_.on_alive();
  if (std::exchange(stuck_, stuck) == stuck) return;
  metrics_->SetStuck(stuck);
  health_.Set(HealthService::kMoving, !stuck);
  if (!stuck) {
    spdlog::warn("the engine moves again");
    return;
  }
  spdlog::critical("the engine is stuck: a round takes far longer than rounds do");
  if (exit && hooks_.on_stuck) hooks_.on_stuck();
}

bool StrataServer::Drain(Instant deadline, const std::function<bool()>& hurry) {
  if (std::exchange(drained_, true)) return true;
  health_.Set(HealthService::kReady, false);
  engine_->StopAdmitting();
  bool idle = false;
  while (!idle) {
    const Instant now = std::chrono::steady_clock::now();
    idle = calls_.WaitUntilIdle(std::min(deadline, now + Duration(kHurryInterval)));
    if (now >= deadline || hurry()) break;
  }
  engine_->Stop(absl::UnavailableError("the server is stopping"));
  if (server_ != nullptr) {
    calls_.WaitUntilIdle(std::chrono::steady_clock::now() + kGoodbye);
    // Watches and load reports have no end of their own: they are cancelled.
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  return idle;
}

}  // namespace strata::server
