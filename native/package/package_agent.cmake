# Files that a package has go when it is replaced, and those of the agent must not (agent/place_agent.cmake): the package has
# them in another folder, from which postinst links them.
set(folder ${CPACK_TEMPORARY_INSTALL_DIRECTORY}${CPACK_PACKAGING_INSTALL_PREFIX}/lib/rekindle)
file(RENAME ${folder}/agents ${folder}/agent)
file(REMOVE ${folder}/librekindle-preload.so)
