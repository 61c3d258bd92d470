# The libraries that the parts use. Static ones: plugin, agent and librekindle.so are carried into other programs and to
# other machines, which have none or another version of them.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
pkg_check_modules(JSON_C REQUIRED json-c)
pkg_check_modules(INIH REQUIRED inih)
find_library(PROTOBUF_C_STATIC_LIBRARY libprotobuf-c.a REQUIRED)
find_library(XXHASH_STATIC_LIBRARY libxxhash.a REQUIRED)
find_library(JSON_C_STATIC_LIBRARY libjson-c.a REQUIRED)
find_library(INIH_STATIC_LIBRARY libinih.a REQUIRED)
find_program(PROTOC_C protoc-c REQUIRED)

# rekindle_messages(SOURCES FILE.proto...): code for the messages of the files, as sources in the variable SOURCES and
# headers in the build folder of the directory that calls it.
function(rekindle_messages sources)
	foreach(file ${ARGN})
		get_filename_component(name ${file} NAME_WE)
		get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR}/${file} DIRECTORY)
		set(code ${CMAKE_CURRENT_BINARY_DIR}/${name}.pb-c.c)
		add_custom_command(
			OUTPUT ${code} ${CMAKE_CURRENT_BINARY_DIR}/${name}.pb-c.h
			COMMAND ${PROTOC_C} --c_out=${CMAKE_CURRENT_BINARY_DIR} --proto_path=${folder}
				${CMAKE_CURRENT_SOURCE_DIR}/${file}
			DEPENDS ${file} VERBATIM)
		set_source_files_properties(${code} PROPERTIES COMPILE_OPTIONS "-Wno-conversion;-Wno-shadow")
		list(APPEND result ${code})
	endforeach()
	set(${sources} ${result} PARENT_SCOPE)
endfunction()
