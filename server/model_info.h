// What GetModelInfo answers.

#ifndef STRATA_SERVER_MODEL_INFO_H_
#define STRATA_SERVER_MODEL_INFO_H_

#include "kernels/tensor.h"
#include "server/serving.h"
#include "strata/v1/control.pb.h"

namespace strata::server {

v1::ModelInfo MakeModelInfo(const Serving& serving, kernels::WeightFormat weights);

v1::RequestDefaults ToProto(const RequestDefaults& defaults);

}  // namespace strata::server

#endif  // STRATA_SERVER_MODEL_INFO_H_
