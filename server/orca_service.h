// Out-of-band load reports for load balancers: xds.service.orca.v3.

#ifndef STRATA_SERVER_ORCA_SERVICE_H_
#define STRATA_SERVER_ORCA_SERVICE_H_

#include <functional>
#include <utility>

#include "engine/engine.h"
#include "server/access_control.h"
#include "xds/service/orca/v3/orca.grpc.pb.h"

namespace strata::server {

// `max_sequences`: how many requests run at once, for the utilization.
xds::data::orca::v3::OrcaLoadReport MakeLoadReport(const EngineLoad& load, int max_sequences);

class OrcaService final : public xds::service::orca::v3::OpenRcaService::CallbackService {
 public:
  using GetReport = std::function<xds::data::orca::v3::OrcaLoadReport()>;
  // `access` says who may ask, and must outlive this.
  OrcaService(GetReport get_report, AccessControl* access)
      : get_report_(std::move(get_report)), access_(access) {}

  grpc::ServerWriteReactor<xds::data::orca::v3::OrcaLoadReport>* StreamCoreMetrics(
      grpc::CallbackServerContext* context,
      const xds::service::orca::v3::OrcaLoadReportRequest* request) override;

 private:
  class Reporter;
  const GetReport get_report_;
  AccessControl* const access_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_ORCA_SERVICE_H_
