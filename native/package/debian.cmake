# The Debian package, for Debian 12 and 13: built on the older of the two, as a program needs the glibc that it was built
# with or a newer one.
set(debian ${CMAKE_CURRENT_BINARY_DIR}/debian)

# What Debian asks for beside the files: licence, changes, and no uncompressed man page.
include(copyright.cmake)
copyright_of_linked(${CMAKE_SOURCE_DIR}/licenses)
configure_file(debian/copyright.in ${debian}/copyright @ONLY)
add_custom_command(OUTPUT ${debian}/changelog.gz
	COMMAND gzip -9nc ${CMAKE_CURRENT_SOURCE_DIR}/debian/changelog > ${debian}/changelog.gz
	DEPENDS debian/changelog VERBATIM)
set(REKINDLE_DEB ${CMAKE_BINARY_DIR}/rekindle_${PROJECT_VERSION}_amd64.deb)
add_custom_target(deb COMMAND ${CMAKE_CPACK_COMMAND} --config ${CMAKE_BINARY_DIR}/CPackConfig.cmake
	WORKING_DIRECTORY ${CMAKE_BINARY_DIR} DEPENDS ${debian}/changelog.gz VERBATIM)
add_dependencies(deb rekindle-package-parts rekindle rekindle-preload rekindled rekindle-seal cuda_plugin)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME rekindle)
set(CPACK_PACKAGE_CONTACT "The Rekindle project <maintainers@rekindle.dev>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
# A third larger than with xz, in a tenth of the time.
set(CPACK_DEBIAN_COMPRESSION_TYPE gzip)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_LIBRARY_OUTPUT_DIRECTORY}
	${CMAKE_CURRENT_BINARY_DIR}/parts/java/runtime/lib ${CMAKE_CURRENT_BINARY_DIR}/parts/java/runtime/lib/server)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(scripts postinst prerm postrm triggers)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
list(TRANSFORM scripts PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/debian/ OUTPUT_VARIABLE CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "fast checkpoint and restore of GPU processes with CRIU")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"Checkpoints processes that use CUDA, and brings them back many times faster
than the driver's own checkpoint does. Device memory does not travel through
the process image: a pool process writes it to an image of its own, and on
restore fills fresh device memory while CRIU still rebuilds the process.
.
This package has the CRIU plugin, the pool process rekindled, the agent for
applications, a CRIU with patches under a name of its own, the C library and
its header, and the command line rekindle with a Java runtime of its own.")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "podman, runc")
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_SOURCE_DIR}/package_agent.cmake)
# CPack's install step runs what is made for the package only.
install(FILES ${debian}/copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/rekindle)
install(FILES ${debian}/changelog.gz DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/rekindle OPTIONAL)
install(FILES debian/lintian-overrides DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides RENAME rekindle)
include(CPack)
