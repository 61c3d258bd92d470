# Part of the installation: the agent goes into a folder that is named by its build, AGENTS/BUILD-ID/librekindle-preload.so,
# and stays there when another one is installed. Processes have it mapped, and CRIU restores them only with the very same
# file; AGENT is a link to the one that was installed last.
set(folder $ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/${REKINDLE_INSTALL_AGENTDIR})
set(file ${folder}/agents/librekindle-preload.so)
execute_process(COMMAND ${CMAKE_READELF} -n ${file} OUTPUT_VARIABLE notes COMMAND_ERROR_IS_FATAL ANY)
if(NOT notes MATCHES "Build ID: ([0-9a-f]+)")
	message(FATAL_ERROR "${file} has no build id")
endif()
set(build ${CMAKE_MATCH_1})
set(own ${folder}/agents/${build}/librekindle-preload.so)
if(EXISTS ${own})
	file(REMOVE ${file})
else()
	file(MAKE_DIRECTORY ${folder}/agents/${build})
	file(RENAME ${file} ${own})
endif()
file(CREATE_LINK agents/${build}/librekindle-preload.so ${folder}/librekindle-preload.so SYMBOLIC)
