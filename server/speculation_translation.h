// The part of a request that says how to draft, and back.

#ifndef STRATA_SERVER_SPECULATION_TRANSLATION_H_
#define STRATA_SERVER_SPECULATION_TRANSLATION_H_

#include "absl/status/statusor.h"
#include "engine/request.h"
#include "server/request_defaults.h"
#include "strata/v1/inference.pb.h"

namespace strata::server {

// Errors begin with the field's path, e.g. "speculation.fixed.exit_layer: ...".
absl::StatusOr<Speculation> TranslateSpeculation(const v1::Speculation& proto,
                                                 const RequestDefaults& defaults,
                                                 const RequestLimits& limits);

v1::Speculation ToProto(const Speculation& speculation);

}  // namespace strata::server

#endif  // STRATA_SERVER_SPECULATION_TRANSLATION_H_
