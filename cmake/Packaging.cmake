# `make package`: build/release/strata_VERSION_ARCH.deb, with the service and its configuration.

include(GNUInstallDirs)
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY TRUE)  # tests are not needed for a package

install(TARGETS strata-server strata strata-bench strata-loadtest strata-simulate
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT strata)
# Debian's units live in lib/systemd, whatever CMAKE_INSTALL_LIBDIR says.
install(FILES deploy/systemd/strata-server.service
        DESTINATION lib/systemd/system COMPONENT strata)
install(FILES deploy/debian/strata.toml DESTINATION /etc/strata COMPONENT strata)
install(FILES README.md CHANGELOG.md NOTICE deploy/nginx/strata.conf
        DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT strata)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright COMPONENT strata)
install(DIRECTORY docs deploy/prometheus deploy/grafana
        DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT strata)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME strata)
set(CPACK_PACKAGE_CONTACT "The Strata maintainers")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Inference server for LayerSkip language models")
set(CPACK_PACKAGE_DESCRIPTION
    "Serves LayerSkip checkpoints over gRPC: the first layers draft tokens, the others verify them.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    "${PROJECT_SOURCE_DIR}/deploy/debian/conffiles;${PROJECT_SOURCE_DIR}/deploy/debian/postinst;${PROJECT_SOURCE_DIR}/deploy/debian/prerm;${PROJECT_SOURCE_DIR}/deploy/debian/postrm")
include(CPack)
