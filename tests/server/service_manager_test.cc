#include "server/service_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <map>
#include <string>

namespace strata::server {
namespace {

// systemd's end: a datagram socket with this name.
class Listener {
 public:
  explicit Listener(std::string name) : fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
  }
  ~Listener() { close(fd_); }

  // Empty if nothing has come.
  std::string Receive() const {
    char buffer[256];
    const ssize_t size = recv(fd_, buffer, sizeof(buffer), 0);
    return size < 0 ? "" : std::string(buffer, static_cast<size_t>(size));
  }

 private:
  const int fd_;
};

ServiceManager With(const std::map<std::string, std::string>& environment) {
  return ServiceManager([environment](const std::string& name) {
    const auto it = environment.find(name);
    return it == environment.end() ? nullptr : it->second.c_str();
  });
}

TEST(ServiceManager, TellsItByPath) {
  const std::string path = ::testing::TempDir() + "strata_notify_" + std::to_string(getpid());
  const Listener listener(path);
  With({{"NOTIFY_SOCKET", path}}).Notify("READY=1");
  EXPECT_EQ(listener.Receive(), "READY=1");
  unlink(path.c_str());
}

TEST(ServiceManager, TellsItByAbstractName) {
  const std::string name = "strata_notify_" + std::to_string(getpid());
  const Listener listener(std::string(1, '\0') + name);
  With({{"NOTIFY_SOCKET", "@" + name}}).Notify("STOPPING=1");
  EXPECT_EQ(listener.Receive(), "STOPPING=1");
}

TEST(ServiceManager, CaresNotWhetherAnybodyListens) {
  With({}).Notify("READY=1");
  With({{"NOTIFY_SOCKET", "/no/such/socket"}}).Notify("READY=1");
  With({{"NOTIFY_SOCKET", std::string(1000, 'x')}}).Notify("READY=1");
}

TEST(ServiceManager, KnowsWhetherPingsAreWanted) {
  EXPECT_FALSE(With({}).wants_pings());
  EXPECT_TRUE(With({{"WATCHDOG_USEC", "30000000"}}).wants_pings());
}

}  // namespace
}  // namespace strata::server
